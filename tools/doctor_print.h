// How the doctor shows documents and lengths to a person.
#pragma once

#include <string>

#include "data/dataset.h"
#include "data/doctor.h"
#include "data/tokenizer/tokenizer.h"

namespace lockstep {

// A document's text; what is supervised is between `on` and `off` (a terminal's colors, or marks).
// `tokenizer` may be null: then ids are shown. At most `max_tokens` of them.
std::string MarkedText(const data::Dataset& dataset, int64_t document,
                       const data::Tokenizer* tokenizer, int64_t max_tokens, const std::string& on,
                       const std::string& off);

// One self-contained page: figures, findings, the histogram of lengths, some documents.
std::string DoctorPage(const data::Diagnosis& diagnosis, const data::Dataset& dataset,
                       const data::Tokenizer* tokenizer);

}  // namespace lockstep
