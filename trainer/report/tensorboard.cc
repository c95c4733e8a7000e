#include "trainer/report/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"

namespace lockstep {
namespace {

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

uint32_t MaskedCrc(absl::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

template <typename T>
std::string LittleEndian(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));  // x86-64
}

std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

// Protocol buffer fields: the tag is number · 8 + wire type.
std::string DoubleField(int number, double value) {
  return Varint(number * 8 + 1) + LittleEndian(value);
}
std::string FloatField(int number, float value) {
  return Varint(number * 8 + 5) + LittleEndian(value);
}
std::string IntField(int number, int64_t value) {
  return Varint(number * 8) + Varint(static_cast<uint64_t>(value));
}
std::string BytesField(int number, absl::string_view value) {
  return absl::StrCat(Varint(number * 8 + 2), Varint(value.size()), value);
}

double WallTime() { return absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()); }

}  // namespace

uint32_t Crc32c(absl::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xFF];
  return ~crc;
}

absl::StatusOr<std::unique_ptr<EventFile>> EventFile::Create(const std::string& directory,
                                                             int64_t first_step) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  char host[256] = "localhost";
  gethostname(host, sizeof(host) - 1);
  const absl::Time now = absl::Now();
  // Readers take the files of a folder in the order of their names.
  const std::string path = JoinPath(
      directory, absl::StrFormat("events.out.tfevents.%010d.%06d.%s.%d", absl::ToUnixSeconds(now),
                                 absl::ToUnixMicros(now) % 1000000, host, getpid()));
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return SystemError(path, "cannot create", errno);
  std::unique_ptr<EventFile> file(new EventFile(path, fd));
  RETURN_IF_ERROR(file->WriteRecord(DoubleField(1, WallTime()) + BytesField(3, "brain.Event:2")));
  constexpr int kSessionLog = 7, kStatus = 1, kStart = 1;
  RETURN_IF_ERROR(file->WriteRecord(DoubleField(1, WallTime()) + IntField(2, first_step) +
                                    BytesField(kSessionLog, IntField(kStatus, kStart))));
  return file;
}

EventFile::~EventFile() { close(fd_); }

absl::Status EventFile::AddScalar(absl::string_view tag, int64_t step, double value) {
  const std::string scalar = BytesField(1, tag) + FloatField(2, static_cast<float>(value));
  const std::string summary = BytesField(1, scalar);
  return WriteRecord(DoubleField(1, WallTime()) + IntField(2, step) + BytesField(5, summary));
}

absl::Status EventFile::WriteRecord(const std::string& event) {
  const std::string length = LittleEndian<uint64_t>(event.size());
  const std::string record =
      absl::StrCat(length, LittleEndian(MaskedCrc(length)), event, LittleEndian(MaskedCrc(event)));
  const ssize_t written = write(fd_, record.data(), record.size());
  if (written == static_cast<ssize_t>(record.size())) return absl::OkStatus();
  return SystemError(path_, "cannot write", written < 0 ? errno : ENOSPC);
}

}  // namespace lockstep
