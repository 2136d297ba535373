// edgeface_demo: a video in, lines of JSON or an annotated video out, exactly as `edgeface run --per-frame` answers it.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include "edgeface/analyzer.h"
#include "edgeface/error.h"
#include "options.h"
#include "sinks.h"
#include "source.h"

namespace {

constexpr int kFailed = 1, kUsage = 2, kInterrupted = 130;
volatile std::sig_atomic_t interrupted = 0;

// A message for a terminal: control characters, which names in models and passports may hold, are left out.
void report(const std::string& what) {
    std::string plain;
    for (const char letter : what) {
        if (static_cast<unsigned char>(letter) >= 0x20 && letter != 0x7f) plain.push_back(letter);
    }
    std::fprintf(stderr, "error: %s\n", plain.c_str());
}

void on_interrupt(int) { interrupted = 1; }

struct Sinks {
    std::unique_ptr<demo::JsonlSink> jsonl;
    std::unique_ptr<demo::OverlaySink> overlay;

    void finish() {
        if (jsonl) jsonl->finish();
        if (overlay) overlay->finish();
    }
};

struct Counts {
    std::int64_t frames = 0;
    std::int64_t faces = 0;
};

Counts run(demo::Source& source, edgeface::Analyzer& analyzer, Sinks& sinks, std::optional<std::int64_t> max_frames) {
    Counts done;
    cv::Mat frame;
    while (!interrupted && done.frames < max_frames.value_or(INT64_MAX) && source.read(frame)) {
        const auto stride = static_cast<std::ptrdiff_t>(frame.step);
        const std::vector<edgeface::Face>& faces =
            analyzer.analyze({frame.data, frame.cols, frame.rows, stride, EDGEFACE_BGR});
        if (sinks.jsonl) {
            sinks.jsonl->append({source.name(), done.frames, source.pts_s(), frame.cols, frame.rows}, faces);
        }
        if (sinks.overlay) sinks.overlay->append(frame, faces);
        ++done.frames;
        done.faces += static_cast<std::int64_t>(faces.size());
    }
    return done;
}

int demonstrate(const demo::Settings& settings) {
    demo::Source source(settings.source);
    edgeface::Analyzer analyzer(settings.analyzer);
    Sinks sinks;
    if (!settings.jsonl.empty()) sinks.jsonl = std::make_unique<demo::JsonlSink>(settings.jsonl);
    if (!settings.overlay.empty()) sinks.overlay = std::make_unique<demo::OverlaySink>(settings.overlay, source.rate());
    std::fprintf(stderr, "running on %s\n", analyzer.device().c_str());
    const auto started = std::chrono::steady_clock::now();
    const Counts done = run(source, analyzer, sinks, settings.max_frames);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    sinks.finish();
    std::fprintf(stderr, "%lld frames, %lld faces, %lld people in %.1f s: %.1f frames/s\n",
                 static_cast<long long>(done.frames), static_cast<long long>(done.faces),
                 static_cast<long long>(analyzer.people()), seconds, static_cast<double>(done.frames) / seconds);
    if (interrupted) return kInterrupted;
    const bool to_the_end = !settings.max_frames || done.frames < *settings.max_frames;
    const std::string problem = to_the_end ? source.problem() : "";
    if (!problem.empty()) report(problem);
    return problem.empty() ? 0 : kFailed;
}

}  // namespace

int main(int argument_count, char** arguments) {
    std::signal(SIGINT, on_interrupt);
    try {
        const demo::Settings settings = demo::parse(argument_count, arguments);
        if (settings.help) return std::fputs(demo::kHelp, stdout) < 0;
        if (settings.version) return std::printf("%s\n", edgeface_version()) < 0;
        return demonstrate(settings);
    } catch (const demo::UsageError& error) {
        report(error.what());
        return kUsage;
    } catch (const std::exception& error) {
        report(error.what());
        return kFailed;
    }
}
