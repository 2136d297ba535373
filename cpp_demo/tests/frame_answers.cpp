// One line of JSON for raw RGB pixels, so that C++ and Python can be compared on exactly the same image:
// `edgeface_frame_answers DETECTOR ATTRIBUTES BACKEND WIDTH HEIGHT [PADDING]` reads the rows from stdin.
#include <cstdlib>
#include <exception>
#include <iostream>
#include <iterator>

#include "edgeface/analyzer.h"
#include "edgeface/jsonl.h"

int main(int count, char** arguments) {
    if (count < 6) return 2;
    try {
        edgeface::Options options;
        options.detector = arguments[1];
        options.attributes = arguments[2];
        options.backend = arguments[3];
        options.threads = 1;
        const int width = std::atoi(arguments[4]), height = std::atoi(arguments[5]);
        const int padding = count > 6 ? std::atoi(arguments[6]) : 0;
        const std::string bytes{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
        edgeface::Analyzer analyzer(options);
        const auto* pixels = reinterpret_cast<const std::uint8_t*>(bytes.data());
        const std::vector<edgeface::Face>& faces =
            analyzer.analyze({pixels, width, height, 3 * width + padding, EDGEFACE_RGB});
        std::cout << edgeface::json_line({"-", 0, std::nullopt, width, height}, faces);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << "\n";
        return 1;
    }
}
