// Age, gender and race of detected faces: align, run the network in batches.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "edgeface/analyzer.h"
#include "edgeface/engine.h"
#include "edgeface/spec.h"

namespace edgeface {

// The outputs to read: those that the spec names, as far as edgeface knows them. Throws `Error` if there are none.
std::vector<std::string> heads_of(const ModelSpec& spec);

// The canonical landmarks x, y in pixels of a crop.
std::array<double, 10> target_of(const ModelSpec& spec);

// Boxes, scores and landmarks as `Face`s of which nothing else is known.
std::vector<Face> places_of(const kernels::Face* found, std::size_t count);

// Fill in the attributes of `count` faces; `answers` are the outputs that `heads_of(spec)` names. Throws `Error` where
// they do not fit the spec.
void take_answers(const ModelSpec& spec, const std::vector<Tensor>& answers, std::size_t count, Face* faces);

class AttributeEstimator {
public:
    // `engine` answers with the outputs that `heads_of(spec)` names.
    AttributeEstimator(std::unique_ptr<Engine> engine, ModelSpec spec);

    // Fill in the attributes of `faces`, row by row those of `found` in the frame that `frame` has loaded.
    void judge(Preprocessor& frame, const std::vector<kernels::Face>& found, std::vector<Face>& faces);

    const Engine& engine() const { return *engine_; }

private:
    std::unique_ptr<Engine> engine_;
    ModelSpec spec_;
};

}  // namespace edgeface
