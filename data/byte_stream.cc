#include "data/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/hash.h"
#include "base/status.h"

namespace lockstep::data {
namespace {

constexpr size_t kBufferBytes = 1 << 20;
constexpr absl::string_view kGzip = "\x1f\x8b", kZstd = "\x28\xb5\x2f\xfd";

class PlainStream : public ByteStream {
 public:
  PlainStream(std::string path, int fd, int64_t total)
      : path_(std::move(path)), fd_(fd), total_(total) {}
  ~PlainStream() override { close(fd_); }

  absl::StatusOr<bool> Read(std::string& out) override {
    const size_t size = out.size();
    out.resize(size + kBufferBytes);
    ssize_t got;
    do {
      got = read(fd_, out.data() + size, kBufferBytes);
    } while (got < 0 && errno == EINTR);
    const int error = errno;
    out.resize(size + (got > 0 ? got : 0));
    if (got < 0) return SystemError(path_, "cannot read", error);
    hasher_.Update(absl::string_view(out).substr(size));
    bytes_read_ += got;
    return got > 0;
  }

  int64_t bytes_read() const override { return bytes_read_; }
  int64_t bytes_total() const override { return total_; }
  std::string ContentHash() const override { return hasher_.Hex(); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_;
  int64_t total_;
  int64_t bytes_read_ = 0;
  Hasher hasher_;
};

// What gzip and zstd have in common: compressed bytes come from `file_`, part by part.
class CompressedStream : public ByteStream {
 public:
  explicit CompressedStream(std::unique_ptr<PlainStream> file) : file_(std::move(file)) {}

  int64_t bytes_read() const override { return file_->bytes_read(); }
  int64_t bytes_total() const override { return file_->bytes_total(); }
  std::string ContentHash() const override { return file_->ContentHash(); }

 protected:
  // Makes input_ non-empty; false at the end of the file.
  absl::StatusOr<bool> Fill() {
    if (used_ < buffer_.size()) return true;
    buffer_.clear();
    used_ = 0;
    return file_->Read(buffer_);
  }
  absl::string_view input() const { return absl::string_view(buffer_).substr(used_); }
  void Consume(size_t bytes) { used_ += bytes; }
  absl::Status Broken(absl::string_view what) const {
    return UserError(
        file_->path(),
        absl::StrCat("byte ", file_->bytes_read() - static_cast<int64_t>(input().size()), ": ",
                     what),
        "the file is damaged or was not written to its end");
  }

 private:
  std::unique_ptr<PlainStream> file_;
  std::string buffer_;
  size_t used_ = 0;
};

class GzipStream : public CompressedStream {
 public:
  explicit GzipStream(std::unique_ptr<PlainStream> file) : CompressedStream(std::move(file)) {
    inflateInit2(&state_, 15 + 16);  // the largest window, gzip's wrapping
  }
  ~GzipStream() override { inflateEnd(&state_); }

  absl::StatusOr<bool> Read(std::string& out) override {
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) {
      if (inside_a_member_) return Broken("the gzip data ends too early");
      return false;
    }
    inside_a_member_ = true;
    const size_t size = out.size();
    out.resize(size + kBufferBytes);
    state_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input().data()));
    state_.avail_in = static_cast<uInt>(input().size());
    state_.next_out = reinterpret_cast<Bytef*>(out.data() + size);
    state_.avail_out = kBufferBytes;
    const size_t before = state_.avail_in;
    const int result = inflate(&state_, Z_NO_FLUSH);
    Consume(before - state_.avail_in);
    out.resize(size + kBufferBytes - state_.avail_out);
    if (result == Z_STREAM_END) {  // further members may follow
      inside_a_member_ = false;
      inflateReset(&state_);
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      return Broken(absl::StrCat("broken gzip data: ", state_.msg != nullptr ? state_.msg : "?"));
    }
    return true;
  }

 private:
  z_stream state_ = {};
  bool inside_a_member_ = false;
};

class ZstdStream : public CompressedStream {
 public:
  explicit ZstdStream(std::unique_ptr<PlainStream> file)
      : CompressedStream(std::move(file)), state_(ZSTD_createDStream()) {}
  ~ZstdStream() override { ZSTD_freeDStream(state_); }

  absl::StatusOr<bool> Read(std::string& out) override {
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more && wanted_ == 0) return false;
    const size_t size = out.size();
    out.resize(size + kBufferBytes);
    ZSTD_inBuffer in = {input().data(), input().size(), 0};
    ZSTD_outBuffer result = {out.data() + size, kBufferBytes, 0};
    wanted_ = ZSTD_decompressStream(state_, &result, &in);
    Consume(in.pos);
    out.resize(size + result.pos);
    if (ZSTD_isError(wanted_)) {
      return Broken(absl::StrCat("broken zstd data: ", ZSTD_getErrorName(wanted_)));
    }
    // Behind the last of the input there may still be output that found no room.
    if (!more && result.pos == 0) return Broken("the zstd data ends too early");
    return true;
  }

 private:
  ZSTD_DStream* state_;
  size_t wanted_ = 0;  // bytes that the current frame still needs; 0 between frames
};

absl::StatusOr<std::unique_ptr<PlainStream>> OpenPlain(absl::string_view path) {
  std::string name(path);
  const int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC);
  constexpr char kWanted[] = "want a file of documents: JSONL, a JSON array or .txt";
  if (fd < 0) return SystemError(path, "cannot open", errno, errno == ENOENT ? kWanted : "");
  struct stat info;
  if (fstat(fd, &info) != 0 || S_ISDIR(info.st_mode)) {
    close(fd);
    return UserError(path, "want a file, got a folder", kWanted);
  }
  return std::make_unique<PlainStream>(std::move(name), fd, info.st_size);
}

// The bytes of a literal, zeros among them too.
template <size_t size>
constexpr absl::string_view Bytes(const char (&literal)[size]) {
  return {literal, size - 1};
}

// What people have data in and we do not read, by the first bytes.
absl::Status RefuseOtherFormats(absl::string_view path, absl::string_view start) {
  struct Other {
    absl::string_view name, hint, begin;
  };
  constexpr absl::string_view kUnpack = "unpack it first; gzip and zstd are read as they are";
  constexpr absl::string_view kConvert = "convert it to JSONL, a document a line";
  constexpr absl::string_view kEncode16 = "convert it: iconv -f UTF-16 -t UTF-8";
  constexpr absl::string_view kEncode32 = "convert it: iconv -f UTF-32 -t UTF-8";
  for (const Other& other :
       {Other{"xz", kUnpack, Bytes("\xfd\x37zXZ\0")}, Other{"bzip2", kUnpack, "BZh"},
        Other{"zip", kUnpack, "PK\x03\x04"}, Other{"Parquet", kConvert, "PAR1"},
        Other{"Arrow", kConvert, "ARROW1"},
        Other{"Git LFS pointer", "git lfs pull fetches the file itself",
              "version https://git-lfs."},
        Other{"UTF-32", kEncode32, Bytes("\xff\xfe\0\0")},
        Other{"UTF-32", kEncode32, Bytes("\0\0\xfe\xff")}, Other{"UTF-16", kEncode16, "\xff\xfe"},
        Other{"UTF-16", kEncode16, "\xfe\xff"}, Other{"UTF-16", kEncode16, Bytes("{\0")},
        Other{"UTF-16", kEncode16, Bytes("[\0")}, Other{"UTF-16", kEncode16, Bytes("\0{")},
        Other{"UTF-16", kEncode16, Bytes("\0[")}}) {
    if (!absl::StartsWith(start, other.begin)) continue;
    if (other.begin == "BZh" && absl::ClippedSubstr(start, 4, 6) != "1AY&SY") continue;  // text
    return UserError(path,
                     absl::StrCat("want JSONL, a JSON array or .txt, got ", other.name, " data"),
                     other.hint);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ByteStream>> ByteStream::Open(absl::string_view path) {
  std::string start;
  {
    ASSIGN_OR_RETURN(const auto probe, OpenPlain(path));
    RETURN_IF_ERROR(probe->Read(start).status());
  }
  if (start.empty()) return UserError(path, "the file is empty", "want at least one document");
  RETURN_IF_ERROR(RefuseOtherFormats(path, start));
  ASSIGN_OR_RETURN(auto file, OpenPlain(path));
  if (absl::StartsWith(start, kGzip)) {
    return std::unique_ptr<ByteStream>(new GzipStream(std::move(file)));
  }
  if (absl::StartsWith(start, kZstd)) {
    return std::unique_ptr<ByteStream>(new ZstdStream(std::move(file)));
  }
  return std::unique_ptr<ByteStream>(std::move(file));
}

bool IsCompressed(absl::string_view start) {
  return absl::StartsWith(start, kGzip) || absl::StartsWith(start, kZstd);
}

absl::StatusOr<std::string> HashFile(absl::string_view path) {
  ASSIGN_OR_RETURN(const auto file, OpenPlain(path));
  std::string buffer;
  while (true) {
    buffer.clear();
    ASSIGN_OR_RETURN(const bool more, file->Read(buffer));
    if (!more) return file->ContentHash();
  }
}

}  // namespace lockstep::data
