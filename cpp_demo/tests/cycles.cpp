// Create, analyze, destroy, over and over: memory in use must not grow. `edgeface_cycles N` (default 10,000).
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "fixtures.h"

namespace {

// Bytes a cycle: ONNX Runtime 1.32 itself keeps some 40 for every session it ever had, OpenCV 4.6 some 60 for every
// net. What leaks below that, valgrind and the address sanitizer see.
constexpr long kAllowedInUse = 256;
constexpr long kAllowedResidentKb = 16384;  // what an allocator may scatter

long in_use() {
    const struct mallinfo2 facts = mallinfo2();
    return static_cast<long>(facts.uordblks + facts.hblkhd);
}

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
    long warm = 0, warm_kb = 0;
    for (long k = 0; k < cycles; ++k) {
        if (k == cycles / 10) {
            warm = in_use();
            warm_kb = resident_kb();
        }
        if (cycle(options, picture)) continue;
        std::fprintf(stderr, "cycle %ld: %s\n", k, edgeface_last_error());
        return 1;
    }
    const long grown = in_use() - warm, grown_kb = resident_kb() - warm_kb;
    std::printf("%ld cycles; after the first tenth: %ld bytes more in use, %ld KB more resident (of %ld)\n", cycles,
                grown, grown_kb, resident_kb());
    return grown > kAllowedInUse * cycles || grown_kb > kAllowedResidentKb;
}
