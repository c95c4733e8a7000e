// What the doctor (doctor.h) counts: the documents of each kind, and the worst of them.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "data/doctor.h"
#include "data/encode.h"

namespace lockstep::data {

// The documents of one finding, kMaxExamples of them kept.
class Cases {
 public:
  void Add(int64_t document, int64_t badness = 0);
  int64_t count() const { return count_; }
  // The worst first; of equals the earlier one.
  std::vector<int64_t> Worst() const;

 private:
  int64_t count_ = 0;
  std::vector<std::pair<int64_t, int64_t>> worst_;  // a heap of (badness, −document)
};

struct DocumentCases {
  Cases unsupervised, double_bos, untrained_stop, outside_vocabulary, empty, duplicate, too_long,
      cut_off;
  Cases overlap;                // of the validation set
  std::array<Cases, 32> noted;  // by the bit of a Note
  const Cases& With(Note note) const { return noted[std::countr_zero(uint32_t{note})]; }

  int64_t teach_stop = 0;   // documents whose stop token is learned
  int64_t tokens_lost = 0;  // by the length limit
  int32_t largest_id = 0;
};

// One pass over the documents.
DocumentCases LookAtDocuments(const DoctorInput& input);

}  // namespace lockstep::data
