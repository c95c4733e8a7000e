// Files: read whole, mapped, or written so that a reader never sees half of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep {

// The whole file. The error names the path and what the system said.
absl::StatusOr<std::string> ReadFile(absl::string_view path);

// Writes `content` under a temporary, unpredictable name in the same folder, fsyncs it, renames it
// to `path` and fsyncs the folder: after a crash at any instant `path` is the old file or the new
// one, whole.
absl::Status WriteFileAtomically(absl::string_view path, absl::string_view content);

// The same in pieces, for files larger than memory:
//   ASSIGN_OR_RETURN(auto file, AtomicFile::Create(path));
//   RETURN_IF_ERROR(file->Append(bytes));  …
//   RETURN_IF_ERROR(file->Commit());
// Without Commit nothing remains, unless the process is killed.
class AtomicFile {
 public:
  // Errors: the folder is not there or takes no file; `path` is a folder, a device or a pipe, for
  // which a file would be put.
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(absl::string_view path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Pieces of any size: small ones are collected. What is written marks progress (progress.h).
  absl::Status Append(absl::string_view bytes);
  // All that was appended, to `take` in pieces.
  absl::Status ReadBack(absl::FunctionRef<absl::Status(absl::string_view)> take);
  absl::Status Commit() { return CommitAs(path_); }
  // Under another name in the same folder, for a name that follows from the content.
  absl::Status CommitAs(absl::string_view path);

  // Removes what killed processes have left of `path`. For who alone writes it.
  static void RemoveRemains(absl::string_view path);

 private:
  AtomicFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  absl::Status Write(absl::string_view bytes);
  absl::Status Flush();

  const std::string path_, temporary_;
  int fd_;  // -1 once committed
  std::string collected_;
  size_t unsynced_ = 0;  // bytes that the disk has not been asked to take
};

// Brings what was written to `path` to the disk.
absl::Status SyncFile(absl::string_view path);

// fsync(fd). However long the disk takes, that is no stall (WaitAsProgress of progress.h).
int PatientFsync(int fd);

// Makes `path` and its parents; fine if it is there already.
absl::Status MakeDirectories(absl::string_view path);

// Also where that cannot be known, as in a folder that one may not enter: who then opens the file
// gets the reason.
bool FileExists(absl::string_view path);

// Names of what a folder holds, sorted. The error is also that there is none.
absl::StatusOr<std::vector<std::string>> NamesIn(absl::string_view folder);

// What begins with `start`, a path up to within a name: "runs/a/step-" → "runs/a/step-10", …;
// sorted. Errors: those of NamesIn.
absl::StatusOr<std::vector<std::string>> PathsThatStartWith(absl::string_view start);

// dir + "/" + name, without doubling the slash; `name` alone if it is absolute.
std::string JoinPath(absl::string_view directory, absl::string_view name);

// A read-only map of a file. Its bytes stay valid as long as the object; pages come from the page
// cache and are not counted against our own memory.
class MappedFile {
 public:
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(absl::string_view path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }
  absl::string_view view() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // Copies [offset, offset + bytes) to `out` without mapping pages one by one: for large ranges,
  // from several threads, much faster than reading data(). Error: the file has become shorter.
  absl::Status ReadAt(size_t offset, size_t bytes, void* out) const;

  // Tells the kernel that [offset, offset + bytes) will not be needed again.
  void Release(size_t offset, size_t bytes) const;

 private:
  MappedFile(std::string path, int fd, const uint8_t* data, size_t size)
      : path_(std::move(path)), fd_(fd), data_(data), size_(size) {}
  std::string path_;
  int fd_;
  const uint8_t* data_;
  size_t size_;
};

}  // namespace lockstep
