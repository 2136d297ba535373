// The whole way from pixels to attributes through the C API, with tiny models whose answers are known.
#include <cstring>
#include <thread>

#include "check.h"
#include "edgeface/error.h"
#include "fixtures.h"

namespace {

using fixtures::squares;

constexpr std::uint8_t kLight = 250, kDark = 200;
const std::vector<fixtures::Place> kTwo{{32, 32, {kLight, kLight, kLight}}, {96, 64, {kLight, kDark, kDark}}};

struct Analyzer {
    edgeface_analyzer* handle = nullptr;

    explicit Analyzer(bool track = false) {
        const edgeface::Options tiny = fixtures::tiny_options();
        edgeface_options options{};
        options.struct_size = sizeof options;
        options.detector = tiny.detector.c_str();
        options.attributes = tiny.attributes.c_str();
        options.threads = 1;
        options.track = track;
        CHECK_EQUAL(edgeface_create(&options, &handle), EDGEFACE_OK);
    }
    ~Analyzer() { edgeface_destroy(handle); }

    edgeface_status analyze(const fixtures::Picture& picture, edgeface_format format = EDGEFACE_RGB) {
        return edgeface_analyze(handle, picture.pixels.data(), picture.width, picture.height, picture.stride, format);
    }

    std::vector<edgeface_face> faces() const {
        std::vector<edgeface_face> all(edgeface_face_count(handle));
        for (std::size_t k = 0; k < all.size(); ++k) {
            all[k].struct_size = sizeof all[k];
            CHECK_EQUAL(edgeface_get_face(handle, k, &all[k]), EDGEFACE_OK);
        }
        return all;
    }
};

bool same(const edgeface_face& a, const edgeface_face& b) {
    return std::memcmp(a.box, b.box, sizeof a.box) == 0 && a.score == b.score && a.age == b.age &&
           std::strcmp(a.gender, b.gender) == 0 && a.race_confidence == b.race_confidence;
}

}  // namespace

TEST(finds_and_judges_two_faces) {
    Analyzer analyzer;
    CHECK_EQUAL(analyzer.analyze(squares(kTwo)), EDGEFACE_OK);
    const std::vector<edgeface_face> faces = analyzer.faces();
    CHECK_EQUAL(faces.size(), 2u);
    CHECK(faces[0].score > faces[1].score);  // the lighter square
    CHECK_EQUAL(faces[0].track, 0);
    for (int k = 0; k < 4; ++k) CHECK_NEAR(faces[0].box[k], k < 2 ? 32.0f : 64.0f, 1e-3f);
    CHECK_EQUAL(std::string(faces[1].gender), "male");  // red against blue
    CHECK_EQUAL(std::string(faces[1].race), "White");
    CHECK(faces[1].gender_confidence > 0.5f && faces[1].gender_confidence < 1.0f);
    CHECK(faces[0].age > faces[1].age && faces[1].age > 20.0f);
}

TEST(gaps_between_rows_and_channel_order_change_nothing) {
    Analyzer analyzer;
    CHECK_EQUAL(analyzer.analyze(squares(kTwo)), EDGEFACE_OK);
    const std::vector<edgeface_face> plain = analyzer.faces();
    CHECK_EQUAL(analyzer.analyze(squares(kTwo, 128, 96, 13)), EDGEFACE_OK);
    const std::vector<edgeface_face> gaps = analyzer.faces();
    const std::vector<fixtures::Place> mirrored{kTwo[0], {96, 64, {kDark, kDark, kLight}}};
    CHECK_EQUAL(analyzer.analyze(squares(mirrored), EDGEFACE_BGR), EDGEFACE_OK);
    const std::vector<edgeface_face> bgr = analyzer.faces();
    for (std::size_t k = 0; k < plain.size(); ++k) CHECK(same(plain[k], gaps[k]) && same(plain[k], bgr[k]));
}

TEST(people_keep_their_numbers_in_a_video) {
    Analyzer analyzer(true);
    CHECK_EQUAL(analyzer.analyze(squares(kTwo)), EDGEFACE_OK);
    CHECK_EQUAL(analyzer.faces()[0].track, 1);
    CHECK_EQUAL(analyzer.faces()[1].track, 2);
    CHECK_EQUAL(analyzer.analyze(squares({kTwo[1]})), EDGEFACE_OK);
    CHECK_EQUAL(analyzer.faces()[0].track, 2);
}

TEST(odd_sizes_are_answered) {
    Analyzer analyzer;
    for (const int side : {1, 2, 7, 33, 501}) {
        CHECK_EQUAL(analyzer.analyze(squares({{0, 0, {kLight, kLight, kLight}}}, side, 2 * side + 1)), EDGEFACE_OK);
    }
}

TEST(impossible_frames_are_refused_and_the_last_answer_stays) {
    Analyzer analyzer;
    const fixtures::Picture picture = squares(kTwo);
    CHECK_EQUAL(analyzer.analyze(picture), EDGEFACE_OK);
    const std::uint8_t* pixels = picture.pixels.data();
    const auto refused = [&](const std::uint8_t* data, int width, int height, std::ptrdiff_t stride, int format) {
        const edgeface_status status = edgeface_analyze(analyzer.handle, data, width, height, stride, format);
        CHECK_EQUAL(status, EDGEFACE_INVALID_IMAGE);
        return std::string(edgeface_last_error());
    };
    CHECK_EQUAL(refused(nullptr, 128, 96, 384, 0), "frame: the pixels are NULL");
    CHECK_EQUAL(refused(pixels, 0, 96, 384, 0), "frame: expected 1 to 32768 pixels a side, found 0x96");
    CHECK_EQUAL(refused(pixels, 128, -1, 384, 0), "frame: expected 1 to 32768 pixels a side, found 128x-1");
    CHECK_EQUAL(refused(pixels, 128, 96, 383, 0),
                "frame: expected a stride of at least 3 * width = 384 bytes, found 383");
    CHECK_EQUAL(refused(pixels, 128, 96, -384, 0),
                "frame: expected a stride of at least 3 * width = 384 bytes, found -384");
    CHECK_EQUAL(refused(pixels, 128, 96, 384, 4),
                "frame: expected the format EDGEFACE_RGB (0) or EDGEFACE_BGR (1), found 4");
    CHECK_EQUAL(edgeface_face_count(analyzer.handle), 2u);
}

TEST(four_threads_with_an_analyzer_each_agree) {
    Analyzer reference;
    CHECK_EQUAL(reference.analyze(squares(kTwo)), EDGEFACE_OK);
    const std::vector<edgeface_face> wanted = reference.faces();
    std::vector<int> wrong(4, 0);
    std::vector<std::thread> threads;
    for (std::size_t k = 0; k < wrong.size(); ++k) {
        threads.emplace_back([&, k] {
            Analyzer own;
            for (int round = 0; round < 25; ++round) {
                own.analyze(squares(kTwo));
                const std::vector<edgeface_face> faces = own.faces();
                if (faces.size() != 2 || !same(faces[0], wanted[0]) || !same(faces[1], wanted[1])) ++wrong[k];
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(4, 0));
}
