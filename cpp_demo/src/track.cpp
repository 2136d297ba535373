#include "edgeface/track.h"

#include <algorithm>
#include <numeric>

namespace edgeface {
namespace {

// The settings of `edgeface.tracking.iou.IouTracker`.
constexpr double kIouThreshold = 0.25;
constexpr double kBufferFrac = 0.3;
constexpr int kMinHits = 2;
constexpr int kMaxMissed = 15;
constexpr double kSpeedSmoothing = 0.5;

Box enlarged(const Box& box) {
    const double across = (box[2] - box[0]) * kBufferFrac, down = (box[3] - box[1]) * kBufferFrac;
    return {box[0] - across, box[1] - down, box[2] + across, box[3] + down};
}

double area(const Box& box) { return std::max(box[2] - box[0], 0.0) * std::max(box[3] - box[1], 0.0); }

double iou(const Box& a, const Box& b) {
    const Box common{std::max(a[0], b[0]), std::max(a[1], b[1]), std::min(a[2], b[2]), std::min(a[3], b[3])};
    const double overlap = area(common), all = area(a) + area(b) - overlap;
    return all > 0.0 ? overlap / all : 0.0;
}

}  // namespace

Box IouTracker::Track::predicted() const {
    const double steps = missed + 1;
    return {box[0] + velocity[0] * steps, box[1] + velocity[1] * steps, box[2] + velocity[0] * steps,
            box[3] + velocity[1] * steps};
}

void IouTracker::Track::move_to(const Box& place) {
    const double weight = hits > 1 ? kSpeedSmoothing : 1.0;
    for (std::size_t axis = 0; axis < 2; ++axis) {
        const double moved = (place[axis] + place[axis + 2]) / 2 - (box[axis] + box[axis + 2]) / 2;
        velocity[axis] = (1 - weight) * velocity[axis] + weight * moved / (missed + 1);
    }
    box = place;
    ++hits;
    missed = 0;
}

std::vector<std::int64_t> IouTracker::follow(const std::vector<Box>& boxes) {
    const std::vector<int> matched = match(boxes);
    std::vector<bool> seen(tracks_.size(), false);
    std::vector<std::size_t> rows;
    for (std::size_t row = 0; row < boxes.size(); ++row) {
        if (matched[row] >= 0) {
            rows.push_back(static_cast<std::size_t>(matched[row]));
            seen[rows.back()] = true;
            tracks_[rows.back()].move_to(boxes[row]);
        } else {
            rows.push_back(tracks_.size());
            tracks_.push_back({boxes[row]});
        }
    }
    for (std::size_t column = 0; column < seen.size(); ++column) tracks_[column].missed += seen[column] ? 0 : 1;
    std::vector<std::int64_t> numbers;
    for (const std::size_t row : rows) {
        Track& track = tracks_[row];
        if (track.number == 0 && (first_frame_ || track.hits >= kMinHits)) track.number = ++count_;
        numbers.push_back(track.number);
    }
    tracks_.erase(std::remove_if(tracks_.begin(), tracks_.end(), [](const Track& t) { return t.missed > kMaxMissed; }),
                  tracks_.end());
    first_frame_ = false;
    return numbers;
}

// The index of every box' track, or -1: taken by falling overlap, no track twice.
std::vector<int> IouTracker::match(const std::vector<Box>& boxes) const {
    std::vector<double> overlaps;
    for (const Box& box : boxes) {
        for (const Track& track : tracks_) overlaps.push_back(overlap(box, track));
    }
    std::vector<std::size_t> order(overlaps.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return overlaps[a] > overlaps[b]; });
    std::vector<int> matched(boxes.size(), -1);
    std::vector<bool> taken(tracks_.size(), false);
    for (const std::size_t flat : order) {
        if (overlaps[flat] < kIouThreshold) break;
        const std::size_t row = flat / tracks_.size(), column = flat % tracks_.size();
        if (matched[row] >= 0 || taken[column]) continue;
        matched[row] = static_cast<int>(column);
        taken[column] = true;
    }
    return matched;
}

// With where the track should be by now or, if it stopped, where it was.
double IouTracker::overlap(const Box& face, const Track& track) const {
    const Box wide = enlarged(face);
    return std::max(iou(wide, enlarged(track.predicted())), iou(wide, enlarged(track.box)));
}

}  // namespace edgeface
