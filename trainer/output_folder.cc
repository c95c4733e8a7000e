#include "trainer/output_folder.h"

#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "trainer/flags/user_path.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::string> Absolute(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (!error) return absolute.lexically_normal().string();
  return UserError(path, absl::StrCat("there is no current folder: ", error.message()),
                   "start in a folder that is there, or give --output_dir as an absolute path");
}

// "here" of ".", "a/here/" and "org/here".
absl::StatusOr<std::string> LastName(const std::string& path) {
  ASSIGN_OR_RETURN(const fs::path whole, Absolute(path));
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

std::string Stem(const std::string& path) {
  const std::string stem = fs::path(path).stem();
  return stem.empty() || stem == "-" ? "stdin" : stem;
}

// Of `name`, `name`-2, `name`-3 … the first that is free, made by nobody else.
absl::StatusOr<std::string> MakeFree(const std::string& name) {
  RETURN_IF_ERROR(MakeDirectories(fs::path(name).parent_path().string()));
  for (int number = 1;; ++number) {
    const std::string path = number == 1 ? name : absl::StrCat(name, "-", number);
    if (mkdir(path.c_str(), 0777) == 0) return path;
    if (errno != EEXIST) return SystemError(path, "cannot make the folder", errno);
  }
}

}  // namespace

absl::StatusOr<OutputFolder> OutputFolder::Choose(const TrainOptions& options, absl::Time now) {
  OutputFolder folder;
  if (!options.output_dir.empty()) {
    ASSIGN_OR_RETURN(folder.path_, Absolute(options.output_dir));
    return folder;
  }
  const auto in_runs = [](const std::string& name) {
    return Absolute(UserPath(JoinPath("runs", name)));
  };
  if (!options.run_name.empty()) {
    ASSIGN_OR_RETURN(folder.path_, in_runs(options.run_name));
    return folder;
  }
  const std::string time = absl::FormatTime("%Y%m%d-%H%M%S", now, absl::LocalTimeZone());
  ASSIGN_OR_RETURN(const std::string model, LastName(options.data.model_name));
  const std::string data = Stem(options.data.train_files[0]);
  ASSIGN_OR_RETURN(const std::string name, in_runs(absl::StrCat(time, "-", model, "-", data)));
  ASSIGN_OR_RETURN(folder.path_, MakeFree(name));
  folder.made_ = folder.path_;
  return folder;
}

OutputFolder::~OutputFolder() {
  if (!made_.empty()) rmdir(made_.c_str());  // fails, as it should, where there is something in it
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept { *this = std::move(other); }

OutputFolder& OutputFolder::operator=(OutputFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(made_, other.made_);
  std::swap(lock_, other.lock_);
  return *this;
}

absl::Status OutputFolder::Lock(double seconds) {
  std::error_code none;
  if (!fs::is_directory(path_, none)) return absl::OkStatus();
  const absl::StatusOr<bool> taken = lock_.TakeFolder(path_, seconds);
  if (!taken.ok()) {
    LOG(WARNING) << "another run in the same folder would go unnoticed: "
                 << taken.status().message();
    return absl::OkStatus();
  }
  if (*taken) return absl::OkStatus();
  return UserError(path_, "another process is training into this folder",
                   "wait for its end, or give another --output_dir");
}

absl::Status OutputFolder::Make() {
  RETURN_IF_ERROR(MakeDirectories(path_));
  return Lock(0);
}

}  // namespace lockstep
