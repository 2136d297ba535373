/* edgeface in C: hand it a frame, get its faces with age, gender and race.
 *
 *     edgeface_options options = {sizeof options};
 *     options.detector = "detector.onnx";
 *     options.attributes = "attributes.onnx";
 *     edgeface_analyzer* analyzer = NULL;
 *     if (edgeface_create(&options, &analyzer) != EDGEFACE_OK) puts(edgeface_last_error());
 *
 * No function throws or exits. An analyzer serves one thread at a time; every thread may have its own. Structs start
 * with their size, which the caller sets, so that a program built against an older header keeps working.
 */
#ifndef EDGEFACE_C_H
#define EDGEFACE_C_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define EDGEFACE_API __attribute__((visibility("default")))
#else
#define EDGEFACE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum edgeface_status {
    EDGEFACE_OK = 0,
    EDGEFACE_INVALID_ARGUMENT = 1, /* a setting, pointer or struct size that makes no sense */
    EDGEFACE_INVALID_IMAGE = 2,    /* no pixels, impossible sizes, stride or format */
    EDGEFACE_BAD_MODEL = 3,        /* a model file that is missing, damaged, of another kind or of another machine */
    EDGEFACE_BACKEND_FAILED = 4,   /* the runtime is not in this build, or could not load or run the model */
    EDGEFACE_OUT_OF_MEMORY = 5,
    EDGEFACE_INTERNAL = 6 /* a bug of edgeface */
} edgeface_status;

typedef enum edgeface_format { EDGEFACE_RGB = 0, EDGEFACE_BGR = 1 } edgeface_format;

typedef struct edgeface_options {
    size_t struct_size;     /* sizeof(edgeface_options) */
    const char* detector;   /* path of the face detector: .onnx, or .engine with its passport beside it */
    const char* attributes; /* path of the attribute network, likewise */
    const char* backend;    /* "onnxruntime", "opencv", "tensorrt"; NULL or "auto": what suits the file */
    int threads;            /* CPU threads of one inference; 0: as many as this process may use */
    float score_threshold;  /* lowest score of a face, above 0 and up to 1; 0: the detector's own */
    int track;              /* not 0: frames follow each other, and the same person keeps a number */
} edgeface_options;

typedef struct edgeface_face {
    size_t struct_size;      /* sizeof(edgeface_face) */
    float box[4];            /* x1, y1, x2, y2 in pixels; (0, 0) is the frame's top-left corner */
    float score;             /* 0 to 1 */
    float landmarks[10];     /* x, y of the subject's right eye, left eye, nose tip, right and left mouth corner */
    int64_t track;           /* number of the person, from 1 up; 0 where not tracked (yet) */
    float age;               /* years; this and all below: NaN or NULL from a network without the head */
    float age_std;           /* years */
    const char* gender;      /* the likeliest; these names live as long as the analyzer */
    float gender_confidence; /* 0 to 1 */
    const char* race;
    float race_confidence;
} edgeface_face;

typedef struct edgeface_analyzer edgeface_analyzer;

/* Load both models. On success `*analyzer` is to be destroyed by the caller, else it is NULL. */
EDGEFACE_API edgeface_status edgeface_create(const edgeface_options* options, edgeface_analyzer** analyzer);

/* Find and judge the faces of a frame of three interleaved 8-bit channels; `stride` is the bytes from row to row, at
 * least 3 * width, `format` an edgeface_format. The pixels are only read, and not needed afterwards. */
EDGEFACE_API edgeface_status edgeface_analyze(edgeface_analyzer* analyzer, const uint8_t* pixels, int width, int height,
                                              ptrdiff_t stride, int format);

/* Faces of the last frame that was analyzed without an error, best score first. */
EDGEFACE_API size_t edgeface_face_count(const edgeface_analyzer* analyzer);
EDGEFACE_API edgeface_status edgeface_get_face(const edgeface_analyzer* analyzer, size_t index, edgeface_face* face);

/* What the models really run on, for people: "CPU (ONNX Runtime 1.23.0, 2 threads)". Lives as long as the analyzer. */
EDGEFACE_API const char* edgeface_device(const edgeface_analyzer* analyzer);

/* Free everything; NULL is fine. */
EDGEFACE_API void edgeface_destroy(edgeface_analyzer* analyzer);

/* The sentence of this thread's last failed call; valid until its next one. Never NULL. */
EDGEFACE_API const char* edgeface_last_error(void);

EDGEFACE_API const char* edgeface_version(void);

#ifdef __cplusplus
}
#endif

#endif
