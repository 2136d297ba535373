#include "edgeface/edgeface_c.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "edgeface/analyzer.h"
#include "edgeface/error.h"

struct edgeface_analyzer {
    edgeface::Analyzer analyzer;
};

namespace {

thread_local std::string last_error;

edgeface_status failed(edgeface_status status, const char* sentence) noexcept {
    try {
        last_error = sentence;
    } catch (...) {
        last_error.clear();
    }
    return status;
}

// Run `work`; whatever it throws becomes a status and the sentence of `edgeface_last_error`.
template <typename Work>
edgeface_status guarded(Work work) noexcept {
    try {
        work();
        return EDGEFACE_OK;
    } catch (const edgeface::Error& error) {
        return failed(error.status(), error.what());
    } catch (const std::bad_alloc&) {
        return failed(EDGEFACE_OUT_OF_MEMORY, "out of memory");
    } catch (const std::exception& error) {
        return failed(EDGEFACE_INTERNAL, error.what());
    } catch (...) {
        return failed(EDGEFACE_INTERNAL, "an unknown exception");
    }
}

[[noreturn]] void refuse(const char* sentence) { throw edgeface::Error(EDGEFACE_INVALID_ARGUMENT, sentence); }

std::string text_or(const char* text, const char* otherwise) { return text ? text : otherwise; }

// The caller's struct, which an older program may know in a shorter form, in today's; what it lacks is zero.
template <typename Struct>
Struct grown(const Struct& given, std::size_t smallest) {
    if (given.struct_size < smallest || given.struct_size > 4096) {
        refuse("struct_size: expected the size of the struct, set it with sizeof");
    }
    Struct known{};
    std::memcpy(static_cast<void*>(&known), &given, std::min(given.struct_size, sizeof known));
    return known;
}

edgeface::Options options_from(const edgeface_options& given) {
    const edgeface_options known = grown(given, offsetof(edgeface_options, track) + sizeof given.track);
    return {text_or(known.detector, ""),    text_or(known.attributes, ""),
            text_or(known.backend, "auto"), known.threads,
            known.score_threshold,          known.track != 0};
}

edgeface_face face_from(const edgeface::Face& face) {
    edgeface_face out{};
    std::copy(face.box.begin(), face.box.end(), out.box);
    std::copy(face.landmarks.begin(), face.landmarks.end(), out.landmarks);
    out.score = face.score;
    out.track = face.track;
    out.age = face.age;
    out.age_std = face.age_std;
    out.gender = face.gender ? face.gender->c_str() : nullptr;
    out.gender_confidence = face.gender_confidence;
    out.race = face.race ? face.race->c_str() : nullptr;
    out.race_confidence = face.race_confidence;
    return out;
}

}  // namespace

edgeface_status edgeface_create(const edgeface_options* options, edgeface_analyzer** analyzer) {
    if (analyzer) *analyzer = nullptr;
    return guarded([&] {
        if (!options || !analyzer) refuse("edgeface_create: expected options and a place for the analyzer, found NULL");
        *analyzer = new edgeface_analyzer{edgeface::Analyzer(options_from(*options))};
    });
}

edgeface_status edgeface_analyze(edgeface_analyzer* analyzer, const uint8_t* pixels, int width, int height,
                                 ptrdiff_t stride, int format) {
    return guarded([&] {
        if (!analyzer) refuse("edgeface_analyze: expected an analyzer, found NULL");
        analyzer->analyzer.analyze({pixels, width, height, stride, format});
    });
}

size_t edgeface_face_count(const edgeface_analyzer* analyzer) {
    return analyzer ? analyzer->analyzer.faces().size() : 0;
}

edgeface_status edgeface_get_face(const edgeface_analyzer* analyzer, size_t index, edgeface_face* face) {
    return guarded([&] {
        if (!analyzer || !face) refuse("edgeface_get_face: expected an analyzer and a place for the face, found NULL");
        if (index >= analyzer->analyzer.faces().size()) refuse("edgeface_get_face: there is no face of this index");
        const std::size_t size = face->struct_size;
        grown(*face, sizeof face->struct_size);
        edgeface_face found = face_from(analyzer->analyzer.faces()[index]);
        found.struct_size = size;
        std::memcpy(static_cast<void*>(face), &found, std::min(size, sizeof found));
    });
}

const char* edgeface_device(const edgeface_analyzer* analyzer) {
    return analyzer ? analyzer->analyzer.device().c_str() : "";
}

void edgeface_destroy(edgeface_analyzer* analyzer) { delete analyzer; }

const char* edgeface_last_error(void) { return last_error.c_str(); }

const char* edgeface_version(void) { return EDGEFACE_VERSION; }
