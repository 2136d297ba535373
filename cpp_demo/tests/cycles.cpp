// Create, analyze, destroy, over and over: memory must not grow. `edgeface_cycles N` (default 10,000) prints what it
// took.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "fixtures.h"

namespace {

constexpr long kAllowedKb = 2048;  // what an allocator may keep; a leak of 1 KB a cycle would be 10,000

long resident_kb() {
    long pages = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> pages >> resident;
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

bool cycle(const edgeface_options& options, const fixtures::Picture& picture) {
    edgeface_analyzer* analyzer = nullptr;
    const bool answered = edgeface_create(&options, &analyzer) == EDGEFACE_OK &&
                          edgeface_analyze(analyzer, picture.pixels.data(), picture.width, picture.height,
                                           picture.stride, EDGEFACE_RGB) == EDGEFACE_OK &&
                          edgeface_face_count(analyzer) == 1;
    edgeface_destroy(analyzer);
    return answered;
}

}  // namespace

int main(int count, char** arguments) {
    const long cycles = count > 1 ? std::strtol(arguments[1], nullptr, 10) : 10'000;
    const edgeface::Options tiny = fixtures::tiny_options();
    edgeface_options options{};
    options.struct_size = sizeof options;
    options.detector = tiny.detector.c_str();
    options.attributes = tiny.attributes.c_str();
    options.threads = 1;
    const fixtures::Picture picture = fixtures::squares({{32, 32, {250, 250, 250}}});
    long warm_kb = 0;
    for (long k = 0; k < cycles; ++k) {
        if (k == cycles / 10) warm_kb = resident_kb();
        if (cycle(options, picture)) continue;
        std::fprintf(stderr, "cycle %ld: %s\n", k, edgeface_last_error());
        return 1;
    }
    const long grown_kb = resident_kb() - warm_kb;
    std::printf("%ld cycles, %ld KB resident, grown by %ld KB after the first tenth\n", cycles, resident_kb(),
                grown_kb);
    return grown_kb > kAllowedKb;
}
