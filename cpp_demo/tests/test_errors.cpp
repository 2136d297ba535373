// Broken models, engines of another machine, senseless arguments: a status and a sentence, never a crash.
#include "check.h"
#include "edgeface/artifact.h"
#include "edgeface/engine.h"
#include "edgeface/error.h"
#include "edgeface/spec.h"
#include "fixtures.h"

namespace {

using fixtures::read_file;
using fixtures::scratch;
using fixtures::tiny;
using fixtures::write_file;

edgeface_options options_with(const std::string& detector, const std::string& attributes) {
    edgeface_options options{};
    options.struct_size = sizeof options;
    options.detector = detector.c_str();
    options.attributes = attributes.c_str();
    options.threads = 1;
    return options;
}

std::string refused(const edgeface_options& options, edgeface_status wanted) {
    edgeface_analyzer* analyzer = nullptr;
    CHECK_EQUAL(edgeface_create(&options, &analyzer), wanted);
    CHECK(analyzer == nullptr);
    edgeface_destroy(analyzer);
    return edgeface_last_error();
}

std::string refused_detector(const std::string& path) {
    const std::string attributes = tiny("attributes.onnx");
    return refused(options_with(path, attributes), EDGEFACE_BAD_MODEL);
}

bool contains(const std::string& text, const std::string& part) {
    if (text.find(part) != std::string::npos) return true;
    std::cerr << "  found: " << text << "\n";
    return false;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    return text.replace(text.find(from), from.size(), to);
}

// A passport for `engine` with this machine field; the rest fits.
void write_passport(const std::string& engine, const std::string& machine) {
    write_file(engine + ".passport.json",
               "{\"schema_version\": 1, \"engine_sha256\": \"" + edgeface::sha256_file(engine) +
                   "\", \"command\": \"edgeface build-engine x.onnx\", \"machine\": {" + machine +
                   "}, \"recipe\": {\"hardware_compatible\": \"none\"}, \"metadata\": {}}");
}

}  // namespace

TEST(missing_and_damaged_models) {
    CHECK(contains(refused_detector("/nowhere/x.onnx"), "cannot read model `/nowhere/x.onnx`: No such file"));
    CHECK(contains(refused_detector(scratch("")), "it is no file"));
    const std::string path = scratch("damaged.onnx"), whole = read_file(tiny("detector.onnx"));
    write_file(path, "");
    CHECK(contains(refused_detector(path), "is empty, expected an ONNX model"));
    write_file(path, "no model at all");
    CHECK(contains(refused_detector(path), "is not an ONNX model or is damaged; copy or export it again"));
    for (std::size_t length = 1; length < whole.size(); length += 97) {
        write_file(path, whole.substr(0, length));
        CHECK(!refused_detector(path).empty());
    }
}

TEST(models_of_another_kind) {
    CHECK(contains(refused_detector(tiny("attributes.onnx")), "has no `edgeface.detector` in its metadata"));
    const std::string detector = tiny("detector.onnx");
    CHECK(contains(refused(options_with(detector, detector), EDGEFACE_BAD_MODEL),
                   "it is a face detector, not an attribute network"));
}

TEST(specs_that_cannot_be_read) {
    const std::string path = scratch("spec.onnx"), whole = read_file(tiny("detector.onnx"));
    write_file(path, replaced(whole, "\"schema_version\": 1", "\"schema_version\": 2"));
    CHECK(contains(refused_detector(path), "its DetectorSpec has schema 2, this edgeface reads up to 1"));
    write_file(path, replaced(whole, "\"strides\": [32]", "\"strides\": [ 0]"));
    CHECK(contains(refused_detector(path), "its DetectorSpec is not valid"));
    write_file(path, replaced(whole, "\"strides\": [32]", "\"strikes\": [32]"));
    CHECK(contains(refused_detector(path), "its DetectorSpec is incomplete or malformed"));
    write_file(path, replaced(whole, "\"strides\": [32]", "\"strides\": [16]"));
    const std::string attributes = tiny("attributes.onnx");
    const edgeface_options options = options_with(path, attributes);
    edgeface_analyzer* analyzer = nullptr;
    CHECK_EQUAL(edgeface_create(&options, &analyzer), EDGEFACE_OK);
    const fixtures::Picture picture = fixtures::squares({});
    CHECK_EQUAL(edgeface_analyze(analyzer, picture.pixels.data(), 128, 96, 384, EDGEFACE_RGB), EDGEFACE_BAD_MODEL);
    CHECK(contains(edgeface_last_error(), "the detector's outputs do not fit its spec"));
    edgeface_destroy(analyzer);
}

TEST(specs_with_values_that_no_detector_has) {
    const std::string path = scratch("values.onnx"), whole = read_file(tiny("detector.onnx"));
    const auto said = [&](const std::string& from, const std::string& to) {
        write_file(path, replaced(whole, from, to));
        return refused_detector(path);
    };
    CHECK(contains(said("\"multiple\": 32", "\"multiple\":  0"), "its DetectorSpec is not valid: its multiple"));
    CHECK(contains(said("\"upscale\": 1.0", "\"upscale\": 1e9"), "its upscale is outside 0…16"));
    CHECK(contains(said("\"nms_iou\": 0.3", "\"nms_iou\": 9.3"), "its nms_iou is outside 0…1"));
    CHECK(contains(said("\"longest_px\": 128", "\"longest_px\": 1.5"), "`longest_px`: expected a whole number"));
    CHECK(contains(said("\"upscale\": 1.0", "\"upscale\": NaN"), "is not a JSON object with a schema_version"));
}

TEST(specs_given_as_text) {
    const auto detector = [](const std::string& text) -> std::string {
        try {
            edgeface::detector_spec({{"edgeface.detector", text}}, "d");
            return "fits";
        } catch (const edgeface::Error& error) {
            return error.what();
        }
    };
    const std::string head = "{\"schema_version\": 1, \"name\": \"d\", \"strides\": [8], ";
    CHECK_EQUAL(detector(head + "\"multiple\": 32}"), "fits");
    const std::string largest = "\"multiple\": 2147483647, \"longest_px\": 2147483647}";
    CHECK(contains(detector(head + largest), "its multiple is outside"));
    CHECK(contains(detector(head + "\"longest_px\": 1099511627776}"), "its longest_px is outside"));
    CHECK(contains(detector("{\"schema_version\": 1099511627776}"), "has schema 1099511627776"));
    CHECK(contains(detector("{\"schema_version\": 18446744073709551615}"), "has schema 18446744073709551615"));
    CHECK(contains(detector("{\"schema_version\": -1}"), "is not a JSON object with a schema_version"));
    CHECK(contains(detector(std::string(100'000, '[')), "is not a JSON object with a schema_version"));
    const auto model = [](const std::string& points, const std::string& heads) -> std::string {
        try {
            edgeface::model_spec({{"edgeface.spec", "{\"schema_version\": 1, \"name\": \"m\", \"input_size\": 48, "
                                                    "\"alignment\": {\"template\": [" +
                                                        points + "]}, \"heads\": [" + heads + "]}"}},
                                 "m");
            return "fits";
        } catch (const edgeface::Error& error) {
            return error.what();
        }
    };
    const std::string points = "[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.7], [0.65, 0.7]";
    const std::string age = "{\"name\": \"age\", \"kind\": \"regression\", \"labels\": []}";
    const std::string race = "{\"name\": \"race\", \"kind\": \"classification\", \"labels\": [\"a\", \"b\"]}";
    CHECK_EQUAL(model(points, age), "fits");
    const std::string centre = "[0.5, 0.5]", spot = centre + "," + centre + "," + centre + "," + centre + "," + centre;
    CHECK(contains(model(spot, age), "on one spot or one line"));
    CHECK(contains(model("[0, 0], [1, 1], [0.5, 0.5], [0, 0], [1, 1]", age), "on one spot or one line"));
    CHECK(contains(model("[1e9, 0], [1, 1], [0.5, 0.5], [0, 0], [1, 1]", age), "lies outside the crop"));
    CHECK(contains(model(points, race), "`race` has another number of labels"));
    CHECK(contains(model(points, age + ", " + age), "two heads have one name"));
}

TEST(passports_signed_with_a_key) {
    const std::string engine = scratch("signed.engine"), key = scratch("key");
    write_file(engine, "plan");
    write_file(key, std::string(32, 'k'));
    write_passport(engine, "\"gpu\": \"Orin\"");
    setenv("EDGEFACE_PASSPORT_KEY", key.c_str(), 1);
    const auto check = [&]() -> std::string {
        try {
            edgeface::check_passport(engine, {{"gpu", "Orin"}});
            return "fits";
        } catch (const std::exception& error) {
            return error.what();
        }
    };
    CHECK(contains(check(), "cannot read the signature"));
    write_file(engine + ".passport.json.hmac", std::string(64, '0') + "\n");
    CHECK(contains(check(), "is not of the key in $EDGEFACE_PASSPORT_KEY"));
    // Python's hmac.new(b"k" * 32, b"{\"schema_version\": 1}", "sha256")
    write_file(engine + ".passport.json", "{\"schema_version\": 1}");
    write_file(engine + ".passport.json.hmac", "77e5d157196d478482cecf6b7e1ede2b53f04a7b08f2f02f9b511fe1b548549a\n");
    CHECK(contains(check(), "is incomplete, build the engine again"));
    unsetenv("EDGEFACE_PASSPORT_KEY");
}

TEST(engines_without_passport_or_of_another_machine) {
    const std::string engine = scratch("x.engine");
    write_file(engine, "plan");
    CHECK(contains(refused_detector(engine), "so nothing vouches for the engine"));
    const auto check = [&](const edgeface::Identity& here) -> std::string {
        try {
            edgeface::check_passport(engine, here);
            return "fits";
        } catch (const std::exception& error) {
            return error.what();
        }
    };
    write_passport(engine, "\"gpu\": \"Orin\", \"tensorrt\": \"10.3.0\"");
    CHECK_EQUAL(check({{"gpu", "Orin"}, {"tensorrt", "10.3.0"}}), "fits");
    CHECK(contains(
        check({{"gpu", "Orin"}, {"tensorrt", "8.6.1"}}),
        "was built for another machine: tensorrt is 10.3.0 in its passport, 8.6.1 here; build it again: edgeface "
        "build-engine x.onnx"));
    CHECK(contains(check({}), "gpu is Orin in its passport, none here"));
    write_file(engine, "other plan");
    CHECK(
        contains(check({{"gpu", "Orin"}, {"tensorrt", "10.3.0"}}), "is not the one of its passport: sha256 expected"));
    write_file(engine + ".passport.json", "{\"schema_version\": 1}");
    CHECK(contains(check({}), "is incomplete, build the engine again"));
    write_file(engine + ".passport.json", "{");
    CHECK(contains(check({}), "is no passport: expected a JSON object with a schema_version"));
}

TEST(an_onnx_file_with_the_passport_of_another_machine) {
    const std::string path = scratch("quantised.onnx");
    write_file(path, read_file(tiny("detector.onnx")));
    write_passport(path, "\"architecture\": \"riscv64\"");
    CHECK(contains(refused_detector(path), "architecture is riscv64 in its passport"));
}

TEST(senseless_arguments) {
    const std::string detector = tiny("detector.onnx"), attributes = tiny("attributes.onnx");
    edgeface_analyzer* analyzer = nullptr;
    CHECK_EQUAL(edgeface_create(nullptr, &analyzer), EDGEFACE_INVALID_ARGUMENT);
    edgeface_options options = options_with(detector, attributes);
    CHECK_EQUAL(edgeface_create(&options, nullptr), EDGEFACE_INVALID_ARGUMENT);
    options.struct_size = 3;
    CHECK(contains(refused(options, EDGEFACE_INVALID_ARGUMENT), "struct_size: expected the size of the struct"));
    options = options_with(detector, attributes);
    options.threads = -1;
    CHECK(contains(refused(options, EDGEFACE_INVALID_ARGUMENT), "threads: expected 0 (all cores) or more, found -1"));
    options = options_with(detector, attributes);
    options.backend = "abacus";
    CHECK(contains(refused(options, EDGEFACE_BACKEND_FAILED), "no backend `abacus` in this build, it has "));
    options.backend = "auto";
    options.detector = nullptr;
    CHECK(contains(refused(options, EDGEFACE_INVALID_ARGUMENT), "detector: expected a model file, found none"));
    CHECK_EQUAL(edgeface_analyze(nullptr, nullptr, 1, 1, 3, EDGEFACE_RGB), EDGEFACE_INVALID_ARGUMENT);
    CHECK_EQUAL(edgeface_face_count(nullptr), 0u);
    CHECK_EQUAL(std::string(edgeface_device(nullptr)), "");
    edgeface_destroy(nullptr);
    CHECK(std::string(edgeface_version()).find('.') != std::string::npos);
}

TEST(an_older_program_with_a_shorter_face) {
    const std::string detector = tiny("detector.onnx"), attributes = tiny("attributes.onnx");
    const edgeface_options options = options_with(detector, attributes);
    edgeface_analyzer* analyzer = nullptr;
    CHECK_EQUAL(edgeface_create(&options, &analyzer), EDGEFACE_OK);
    const fixtures::Picture picture = fixtures::squares({{32, 32, {250, 250, 250}}});
    CHECK_EQUAL(edgeface_analyze(analyzer, picture.pixels.data(), 128, 96, 384, EDGEFACE_RGB), EDGEFACE_OK);
    edgeface_face face{};
    face.race_confidence = -7.0f;
    face.struct_size = offsetof(edgeface_face, race);
    CHECK_EQUAL(edgeface_get_face(analyzer, 0, &face), EDGEFACE_OK);
    CHECK(face.score > 0.5f && face.gender != nullptr && face.race_confidence == -7.0f);
    face.struct_size = sizeof face;
    CHECK_EQUAL(edgeface_get_face(analyzer, 1, &face), EDGEFACE_INVALID_ARGUMENT);
    edgeface_destroy(analyzer);
}
