/* A program of its own: a grey frame in, its (no) faces out. `consumer [DETECTOR ATTRIBUTES]` */
#include <edgeface/edgeface_c.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 320
#define HEIGHT 240

int main(int count, char** arguments) {
    static uint8_t frame[HEIGHT][WIDTH][3];
    edgeface_options options = {sizeof options};
    edgeface_analyzer* analyzer = NULL;
    memset(frame, 100, sizeof frame);
    options.detector = count > 2 ? arguments[1] : MODELS "/detector.onnx";
    options.attributes = count > 2 ? arguments[2] : MODELS "/attributes.onnx";
    if (edgeface_create(&options, &analyzer) != EDGEFACE_OK ||
        edgeface_analyze(analyzer, &frame[0][0][0], WIDTH, HEIGHT, sizeof frame[0], EDGEFACE_RGB) != EDGEFACE_OK) {
        fprintf(stderr, "error: %s\n", edgeface_last_error());
        edgeface_destroy(analyzer);
        return 1;
    }
    for (size_t k = 0; k < edgeface_face_count(analyzer); ++k) {
        edgeface_face face = {sizeof face};
        edgeface_get_face(analyzer, k, &face);
        printf("%.0f years, %s (%.0f %%)\n", face.age, face.gender, 100 * face.gender_confidence);
    }
    printf("edgeface %s on %s: %zu faces\n", edgeface_version(), edgeface_device(analyzer), edgeface_face_count(analyzer));
    edgeface_destroy(analyzer);
    return 0;
}
