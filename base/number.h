// Numbers as text: exact for files, short for people.
#pragma once

#include <string>

namespace lockstep {

// The shortest decimal that reads back as exactly this double: "0.1", "1e-07", "2". Not finite:
// "null", as JSON knows no other word for it.
std::string ShortestNumber(double value);

// For people: "0:07", "12:34", "1:02:03".
std::string ClockTime(double seconds);

// For people: "950", "12.3k", "4.56M", "1.2G".
std::string HumanCount(double count);

// For people: "812 B", "3.50 MiB", "14.2 GiB", "139 GiB".
std::string HumanBytes(double bytes);

// A row of the tables before training: "  name      value", however long the name is.
std::string TableRow(const std::string& name, const std::string& value);

}  // namespace lockstep
