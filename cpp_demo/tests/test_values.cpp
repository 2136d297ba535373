// Numbers and lines of JSON, hashes, track numbers.
#include <limits>

#include "check.h"
#include "edgeface/artifact.h"
#include "edgeface/jsonl.h"
#include "edgeface/track.h"
#include "fixtures.h"

TEST(numbers_read_as_in_python) {
    CHECK_EQUAL(edgeface::json_number(31.0, 2), "31.0");
    CHECK_EQUAL(edgeface::json_number(31.455, 2), "31.45");  // the double lies below the half
    CHECK_EQUAL(edgeface::json_number(0.125, 2), "0.12");    // an exact half goes to the even digit
    CHECK_EQUAL(edgeface::json_number(0.375, 2), "0.38");
    CHECK_EQUAL(edgeface::json_number(-0.001, 2), "-0.0");
    CHECK_EQUAL(edgeface::json_number(static_cast<double>(0.97f), 4), "0.97");
    CHECK_EQUAL(edgeface::json_number(0.0001, 4), "0.0001");
    CHECK_EQUAL(edgeface::json_number(0.00002, 6), "2e-05");
    CHECK_EQUAL(edgeface::json_number(123456.789012, 6), "123456.789012");
    CHECK_EQUAL(edgeface::json_number(1e16, 2), "1e+16");
}

TEST(a_frame_is_one_line_of_json) {
    const std::string gender = "female", race = "White";
    edgeface::Face face;
    face.box = {1.234f, 2.0f, 30.5f, 40.126f};
    face.score = 0.9f;
    face.landmarks = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10.5f};
    face.age = 31.25f;
    face.age_std = 4.0f;
    face.gender = &gender;
    face.gender_confidence = 0.75f;
    face.race = &race;
    face.race_confidence = 0.5f;
    CHECK_EQUAL(edgeface::json_line({"a \"b\".mp4", 3, 0.1, 640, 480}, {face}),
                "{\"schema\": 1, \"source\": \"a \\\"b\\\".mp4\", \"frame\": 3, \"pts_s\": 0.1, \"path\": \"a "
                "\\\"b\\\".mp4\", \"width\": "
                "640, \"height\": 480, \"faces\": [{\"box\": [1.23, 2.0, 30.5, 40.13], \"score\": 0.9, \"landmarks\": "
                "[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.5]], \"track\": null, \"age\": 31.25, "
                "\"age_std\": 4.0, \"gender\": \"female\", \"gender_confidence\": 0.75, \"race\": \"White\", "
                "\"race_confidence\": 0.5, \"abstained\": []}]}\n");
    CHECK_EQUAL(edgeface::json_line({"x", 0, std::nullopt, 2, 1}, {}),
                "{\"schema\": 1, \"source\": \"x\", \"frame\": 0, \"pts_s\": null, \"path\": \"x\", \"width\": 2, "
                "\"height\": 1, "
                "\"faces\": []}\n");
}

TEST(what_a_network_does_not_say_is_null) {
    edgeface::Face face;
    face.landmarks.fill(std::numeric_limits<float>::quiet_NaN());
    face.track = 2;
    const std::string line = edgeface::json_line({"x", 0, std::nullopt, 2, 1}, {face});
    CHECK(line.find("\"landmarks\": null, \"track\": 2, \"age\": null, \"age_std\": null, \"gender\": null, "
                    "\"gender_confidence\": null, \"race\": null, \"race_confidence\": null") != std::string::npos);
}

TEST(sha256_of_known_bytes) {
    const std::string path = fixtures::scratch("bytes");
    fixtures::write_file(path, "");
    CHECK_EQUAL(edgeface::sha256_file(path), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    fixtures::write_file(path, "abc");
    CHECK_EQUAL(edgeface::sha256_file(path), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    fixtures::write_file(path, std::string(1'000'000, 'a'));
    CHECK_EQUAL(edgeface::sha256_file(path), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(a_person_keeps_a_number) {
    edgeface::IouTracker tracker;
    const std::vector<std::int64_t> both{1, 2}, swapped{2, 1}, flicker{0};
    CHECK(tracker.follow({{0, 0, 10, 10}, {50, 0, 60, 10}}) == both);
    CHECK(tracker.follow({{52, 0, 62, 10}, {2, 0, 12, 10}}) == swapped);
    CHECK(tracker.follow({{200, 200, 210, 210}}) == flicker);  // a track gets its number with its second face
    CHECK(tracker.follow({{4, 0, 14, 10}, {54, 0, 64, 10}}) == both);
    for (int frame = 0; frame < 16; ++frame) tracker.follow({});
    CHECK(tracker.follow({{4, 0, 14, 10}}) == flicker);  // forgotten, so it is new
    CHECK_EQUAL(tracker.count(), 2);
}
