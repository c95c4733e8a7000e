// The folder that a run writes to, and that no other run writes to meanwhile.
//
//   ASSIGN_OR_RETURN(OutputFolder folder, OutputFolder::Choose(options));
//   RETURN_IF_ERROR(folder.Lock(seconds));     // before looking at what is in it
//   …                                          // a run that is refused leaves nothing behind
//   RETURN_IF_ERROR(folder.Make());
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file_lock.h"
#include "trainer/flags/options.h"

namespace lockstep {

class OutputFolder {
 public:
  // Of a rank that does not write.
  OutputFolder() = default;

  // That of --output_dir, or --run_name's in runs/. Without either a new one in runs/, named after
  // the time, the model and the data; it is made at once, so that of runs that start in the same
  // second each has its own (the second one's name ends in -2). Errors: it cannot be made;
  // a relative path, and the current folder is gone.
  static absl::StatusOr<OutputFolder> Choose(const TrainOptions& options,
                                             absl::Time now = absl::Now());

  // Removes the folder that Choose has made, if nothing has come to lie in it.
  ~OutputFolder();
  OutputFolder(OutputFolder&& other) noexcept;
  OutputFolder& operator=(OutputFolder&& other) noexcept;

  const std::string& path() const { return path_; }  // absolute

  // Keeps other runs out, once the folder is there; waits up to `seconds` for one that is ending.
  // A file system without locks is only warned of. Errors: another run writes to it.
  absl::Status Lock(double seconds);

  // Makes the folder where it is not there yet, and locks it.
  absl::Status Make();

 private:
  std::string path_;
  std::string made_;  // by Choose: path_, else ""
  FileLock lock_;
};

}  // namespace lockstep
