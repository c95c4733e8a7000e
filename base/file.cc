#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/progress.h"
#include "base/status.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = size_t{64} << 20;
constexpr size_t kCollectedBytes = size_t{1} << 20;
constexpr char kTemporary[] = ".tmp-";  // behind the name of what is not whole yet

absl::Status WriteAll(int fd, absl::string_view content, absl::string_view path) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(path, "cannot write", errno);
    content.remove_prefix(written);
  }
  return absl::OkStatus();
}

// What holds a path.
std::string FolderOf(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

absl::Status SyncDirectory(absl::string_view path) {
  const std::string directory = FolderOf(path);
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(directory, "cannot open folder", errno);
  const int result = PatientFsync(fd);
  const int error = errno;
  close(fd);
  if (result != 0 && error != EINVAL) return SystemError(directory, "cannot fsync folder", error);
  return absl::OkStatus();
}

// umask() itself can only be asked by setting it, which other threads would see.
mode_t UserMask() {
  const absl::StatusOr<std::string> status = ReadFile("/proc/self/status");
  const size_t at = status.ok() ? status->find("\nUmask:\t") : std::string::npos;
  if (at == std::string::npos) return 0077;
  return static_cast<mode_t>(std::strtoul(status->c_str() + at + 8, nullptr, 8));
}

}  // namespace

absl::StatusOr<std::string> ReadFile(absl::string_view path) {
  const int fd = open(std::string(path).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  std::string content;
  struct stat info;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) content.reserve(info.st_size);
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(path, "cannot read", errno);
    if (got == 0) return content;
    content.append(buffer, got);
  }
}

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(absl::string_view path) {
  struct stat there;
  if (stat(std::string(path).c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
    return UserError(path,
                     S_ISDIR(there.st_mode) ? "want a file, got a folder"
                                            : "want a file, got a device or a pipe",
                     "give the name of a file, which need not be there");
  }
  std::string temporary = absl::StrCat(path, kTemporary, "XXXXXX");
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot create", errno);
  return std::unique_ptr<AtomicFile>(new AtomicFile(std::string(path), temporary, fd));
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

absl::Status AtomicFile::Append(absl::string_view bytes) {
  if (collected_.size() + bytes.size() >= kCollectedBytes) RETURN_IF_ERROR(Flush());
  if (bytes.size() >= kCollectedBytes) return Write(bytes);
  collected_.append(bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status AtomicFile::Flush() {
  RETURN_IF_ERROR(Write(collected_));
  collected_.clear();
  return absl::OkStatus();
}

absl::Status AtomicFile::Write(absl::string_view bytes) {
  for (; !bytes.empty(); bytes.remove_prefix(std::min(kPieceBytes, bytes.size()))) {
    const absl::string_view piece = bytes.substr(0, kPieceBytes);
    RETURN_IF_ERROR(WriteAll(fd_, piece, path_));
    MarkProgress();
    unsynced_ += piece.size();
    if (unsynced_ < kPieceBytes) continue;
    // The disk takes this piece while the next one is made, and Commit finds little left to wait
    // for. Where the file's system cannot do that, Commit does it all.
    (void)sync_file_range(fd_, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE);
    unsynced_ = 0;
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::ReadBack(absl::FunctionRef<absl::Status(absl::string_view)> take) {
  RETURN_IF_ERROR(Flush());
  std::string piece(kCollectedBytes, '\0');
  for (off_t at = 0;;) {
    const ssize_t got = pread(fd_, piece.data(), piece.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(path_, "cannot read back", errno);
    if (got == 0) return absl::OkStatus();
    RETURN_IF_ERROR(take(absl::string_view(piece).substr(0, got)));
    at += got;
  }
}

absl::Status AtomicFile::CommitAs(absl::string_view path) {
  RETURN_IF_ERROR(Flush());
  // mkostemp makes 0600.
  if (fchmod(fd_, 0666 & ~UserMask()) != 0) return SystemError(path, "cannot chmod", errno);
  if (PatientFsync(fd_) != 0) return SystemError(path, "cannot fsync", errno);
  if (rename(temporary_.c_str(), std::string(path).c_str()) != 0) {
    return SystemError(path, "cannot rename", errno);
  }
  const int fd = fd_;
  fd_ = -1;
  if (close(fd) != 0) return SystemError(path, "cannot close", errno);
  return SyncDirectory(path);
}

void AtomicFile::RemoveRemains(absl::string_view path) {
  std::error_code stays;  // what cannot be removed
  const auto remains = PathsThatStartWith(absl::StrCat(path, kTemporary));
  for (const std::string& left : remains.value_or(std::vector<std::string>())) {
    fs::remove(left, stays);
  }
}

absl::Status WriteFileAtomically(absl::string_view path, absl::string_view content) {
  ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file->Append(content));
  return file->Commit();
}

int PatientFsync(int fd) {
  const WaitAsProgress wait;
  return fsync(fd);
}

absl::Status SyncFile(absl::string_view path) {
  const int fd = open(std::string(path).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  // EINVAL: nothing that could be brought to a disk.
  if (PatientFsync(fd) == 0 || errno == EINVAL) return absl::OkStatus();
  return SystemError(path, "cannot fsync", errno);
}

absl::Status MakeDirectories(absl::string_view path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string prefix(path.substr(0, end));
    if (mkdir(prefix.c_str(), 0777) != 0 && errno != EEXIST) {
      return SystemError(prefix, "cannot make folder", errno);
    }
    if (end == absl::string_view::npos) break;
  }
  struct stat info;
  if (stat(std::string(path).c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return SystemError(path, "cannot make folder", ENOTDIR);
  }
  return absl::OkStatus();
}

bool FileExists(absl::string_view path) {
  return access(std::string(path).c_str(), F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

absl::StatusOr<std::vector<std::string>> NamesIn(absl::string_view folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator at(std::string(folder), error), end;
  for (; at != end; at.increment(error)) names.push_back(at->path().filename().string());
  if (error) return SystemError(folder, "cannot list", error.value());
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::vector<std::string>> PathsThatStartWith(absl::string_view start) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(FolderOf(start)));
  const size_t name_at = start.rfind('/') + 1;  // 0 without a slash
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, start.substr(name_at))) continue;
    paths.push_back(absl::StrCat(start.substr(0, name_at), name));
  }
  return paths;
}

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  if (directory.empty() || (!name.empty() && name.front() == '/')) return std::string(name);
  return absl::StrCat(directory, directory.back() == '/' ? "" : "/", name);
}

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(absl::string_view path) {
  std::string name(path);
  const int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  absl::Cleanup close_fd = [fd] { close(fd); };
  struct stat info;
  if (fstat(fd, &info) != 0) return SystemError(path, "cannot stat", errno);
  if (!S_ISREG(info.st_mode)) return UserError(path, "want a regular file");
  const size_t size = info.st_size;
  const uint8_t* data = nullptr;
  if (size > 0) {
    void* map = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) return SystemError(path, "cannot map", errno);
    data = static_cast<const uint8_t*>(map);
  }
  std::move(close_fd).Cancel();
  return std::shared_ptr<const MappedFile>(new MappedFile(std::move(name), fd, data, size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
  close(fd_);
}

absl::Status MappedFile::ReadAt(size_t offset, size_t bytes, void* out) const {
  for (size_t done = 0; done < bytes;) {
    const ssize_t got =
        pread(fd_, static_cast<char*>(out) + done, bytes - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(path_, "cannot read", errno);
    if (got == 0) {
      return UserError(path_,
                       absl::StrCat("want ", bytes - done, " bytes at byte ", offset + done,
                                    ", got the end of the file"),
                       "it has become shorter while it was read");
    }
    done += static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

void MappedFile::Release(size_t offset, size_t bytes) const {
  const size_t page = sysconf(_SC_PAGESIZE);
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + bytes) / page * page;
  if (begin < end) madvise(const_cast<uint8_t*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace lockstep
