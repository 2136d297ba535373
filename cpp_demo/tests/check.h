// The tests' own few words: CHECK and friends count failures and go on; a test is a function of a name.
#pragma once

#include <cmath>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

namespace checks {

struct Test {
    std::string name;
    std::function<void()> run;
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

inline int& failures() {
    static int count = 0;
    return count;
}

struct Registration {
    Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

inline void expect(bool holds, const char* what, const char* file, int line) {
    if (holds) return;
    ++failures();
    std::cerr << file << ":" << line << ": expected " << what << "\n";
}

template <typename Found, typename Wanted>
void expect_equal(const Found& found, const Wanted& wanted, const char* what, const char* file, int line) {
    if (found == wanted) return;
    ++failures();
    std::cerr << file << ":" << line << ": " << what << " is\n  " << found << "\nexpected\n  " << wanted << "\n";
}

}  // namespace checks

#define TEST(name)                                                    \
    static void name();                                               \
    static const checks::Registration registered_##name(#name, name); \
    static void name()
#define CHECK(condition) checks::expect((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQUAL(found, wanted) checks::expect_equal((found), (wanted), #found, __FILE__, __LINE__)
#define CHECK_NEAR(found, wanted, tolerance) CHECK(std::fabs((found) - (wanted)) <= (tolerance))
