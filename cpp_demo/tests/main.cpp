// `edgeface_tests` lists its tests, `edgeface_tests NAME` runs one, `edgeface_tests --all` every one.
#include <exception>

#include "check.h"

int main(int count, char** arguments) {
    const std::string wanted = count > 1 ? arguments[1] : "";
    int ran = 0;
    for (const checks::Test& test : checks::tests()) {
        if (wanted.empty()) std::cout << test.name << "\n";
        if (wanted != "--all" && wanted != test.name) continue;
        ++ran;
        try {
            test.run();
        } catch (const std::exception& error) {
            ++checks::failures();
            std::cerr << test.name << ": " << error.what() << "\n";
        }
    }
    if (!wanted.empty() && ran == 0) std::cerr << "no test `" << wanted << "`\n";
    return checks::failures() > 0 || (!wanted.empty() && ran == 0);
}
