#include "options.h"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>

namespace demo {
namespace {

using Setter = std::function<void(const std::string&)>;

double number(const std::string& option, const std::string& text) {
    std::size_t read = 0;
    try {
        const double value = std::stod(text, &read);
        if (read == text.size()) return value;
    } catch (const std::logic_error&) {  // not a number, or out of a double's range
    }
    throw UsageError(option + ": expected a number, found `" + text + "`");
}

int count(const std::string& option, const std::string& text, int smallest) {
    const double value = number(option, text);
    if (value != static_cast<int>(value) || value < smallest) {
        throw UsageError(option + ": expected a whole number of " + std::to_string(smallest) + " or more, found `" +
                         text + "`");
    }
    return static_cast<int>(value);
}

// A source in a message; an address may hold a password.
std::string shown(const std::string& source) {
    return source.find("://") == std::string::npos && source.find('@') == std::string::npos ? "`" + source + "`"
                                                                                            : "an address";
}

std::map<std::string, Setter> setters(Settings& settings) {
    const auto into = [](std::string& place) { return [&place](const std::string& value) { place = value; }; };
    return {
        {"--jsonl", into(settings.jsonl)},
        {"--overlay", into(settings.overlay)},
        {"--detector", into(settings.analyzer.detector)},
        {"--attributes", into(settings.analyzer.attributes)},
        {"--backend", into(settings.analyzer.backend)},
        {"--threads", [&](const std::string& value) { settings.analyzer.threads = count("--threads", value, 0); }},
        {"--max-frames", [&](const std::string& value) { settings.max_frames = count("--max-frames", value, 1); }},
        {"--score",
         [&](const std::string& value) {
             settings.analyzer.score_threshold = static_cast<float>(number("--score", value));
         }},
    };
}

// $EDGEFACE_MODELS, else the models installed beside this program, else those of the source tree it was built in.
std::string shipped(const std::string& name) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const char* own = std::getenv("EDGEFACE_MODELS");
    const fs::path installed = fs::read_symlink("/proc/self/exe", ignored).parent_path() / EDGEFACE_RELATIVE_MODELS;
    const fs::path folder = own ? fs::path(own) : fs::exists(installed, ignored) ? installed : EDGEFACE_SOURCE_MODELS;
    return (folder / name).string();
}

}  // namespace

const char* const kHelp =
    "Usage: edgeface_demo SOURCE [OPTIONS]\n"
    "\n"
    "Find, follow and judge the faces of a video, as `edgeface run --per-frame` does.\n"
    "\n"
    "  SOURCE             a video file, or a camera's number\n"
    "  --jsonl FILE       one JSON object a frame; - for stdout\n"
    "  --overlay FILE     the video with boxes and labels (.mp4, .avi, .mkv)\n"
    "  --detector FILE    face detector (default: the shipped one)\n"
    "  --attributes FILE  attribute network (default: the shipped one)\n"
    "  --backend NAME     auto, onnxruntime, opencv or tensorrt\n"
    "  --threads N        CPU threads of one inference (default 0: all)\n"
    "  --score S          lowest score of a face, 0 to 1 (default: the detector's)\n"
    "  --max-frames N     stop after N frames\n"
    "  --version, --help\n"
    "\n"
    "Example: edgeface_demo clip.mp4 --jsonl faces.jsonl --overlay annotated.mp4\n";

Settings parse(int argument_count, const char* const* arguments) {
    Settings settings;
    const std::map<std::string, Setter> known = setters(settings);
    for (int k = 1; k < argument_count; ++k) {
        const std::string word = arguments[k];
        const auto option = known.find(word);
        if (word == "--help" || word == "-h") {
            settings.help = true;
        } else if (word == "--version") {
            settings.version = true;
        } else if (option != known.end()) {
            if (k + 1 == argument_count) throw UsageError(word + ": expected a value after it");
            option->second(arguments[++k]);
        } else if (word.size() > 1 && word[0] == '-') {
            throw UsageError("no option " + word + "; see --help");
        } else if (!settings.source.empty()) {
            throw UsageError("expected one SOURCE, found " + shown(settings.source) + " and " + shown(word));
        } else {
            settings.source = word;
        }
    }
    if (settings.source.empty() && !settings.help && !settings.version)
        throw UsageError("expected a SOURCE; see --help");
    if (settings.analyzer.detector.empty()) settings.analyzer.detector = shipped("detector.onnx");
    if (settings.analyzer.attributes.empty()) settings.analyzer.attributes = shipped("attributes.onnx");
    settings.analyzer.track = true;
    return settings;
}

}  // namespace demo
