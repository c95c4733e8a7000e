// Broken files from good ones.
#pragma once

#include <random>
#include <string>
#include <vector>

namespace lockstep::fuzz {

// Changes `input` in a few random places, as files go wrong and as attackers write them: flipped
// and boundary bytes, lying 64-bit lengths, digits and brackets of JSON in odd places, parts lost,
// repeated, or taken from another seed. Never longer than 64 KiB more than the longest seed.
void Mutate(const std::vector<std::string>& seeds, std::mt19937_64& random, std::string& input);

}  // namespace lockstep::fuzz
