// Layers of 8 bits on AMX, whose one instruction multiplies 16 pixels × 64 bytes of channels by 64 bytes × 16 filters.
//
// The 16 filters have one residue mod P, so that their spatial kernels read the same channels. These must lie next to
// one another: the strip is copied once more, dealt to residues. Where a residue has 64 channels or more, a pixel holds
// its residues in turn, and the 1×1 kernels read all of them; where it has fewer, each residue is an image of its own,
// in which a row of the kernel is in one piece, and the 1×1 kernels read the strip as it was. With P = 1 there is one
// residue, and the strip is not copied again.
#pragma once

#include <memory>
#include <vector>

#include "../amx/pixels.h"
#include "kernels.h"
#include "natural.h"

namespace hetconv {

// A run of at most 64 bytes that begins at a tap. It goes on in the taps to its right where a residue has fewer
// channels.
struct AmxChunk {
  int64_t row, column, byte;
};

// How a layer's channels and filters become chunks and tiles.
struct AmxPlan {
  explicit AmxPlan(const Shape& shape);

  Shape shape;
  int64_t quads;        // of a pixel of the strip
  int64_t channels;     // of a residue
  int64_t residue;      // bytes that they take in a pixel
  bool apart;           // each residue is an image of its own
  int64_t chunk_bytes;  // of spatial chunks
  std::vector<AmxChunk> spatial;
  std::vector<int64_t> pointwise;  // bytes from the pixel
  int64_t group_blocks, group_tiles, groups;

  // Of a strip whose pixels hold all residues, in an odd number of cache lines.
  int64_t pixel() const { return (shape.p * residue / kAmxBytes | 1) * kAmxBytes; }
  int64_t chunks() const { return static_cast<int64_t>(spatial.size() + pointwise.size()); }
  int64_t group_bytes() const { return group_tiles * chunks() * kAmxTile; }
};

// Whether the instruction set has AMX, and it is faster than products of vectors.
bool uses_amx(const Shape& shape);

int64_t amx_packed_size(const Shape& shape);
// Each packed weight, by the mover of natural.h that packs or unpacks it.
template <class Mover>
void amx_walk(const Shape& shape, const Mover& mover, typename Mover::Memory packed);

// A strip of the input, as quads.
void copy_quads(const Strips& strips, const Int8Input& x, const Strides& strides, int64_t strip, float* to);

class AmxConvolution {
 public:
  AmxConvolution(const Shape& shape, bool from_float, int threads);
  AmxConvolution(const AmxConvolution&) = delete;
  AmxConvolution& operator=(const AmxConvolution&) = delete;

  void run(const Int8Input& x, const void* packed, const Int8Epilogue& epilogue, void* y, Int8Output type,
           const Threads& threads) const;

 private:
  // Bytes from a pixel, a residue, to the next one, in a strip and in its copy that is dealt to residues; and the room
  // that all of it takes.
  struct Memory {
    int64_t strip_pixel, dealt_pixel, residue;
    int64_t strip, dealt, sums;
  };

  Memory memory() const;
  void find_places();
  Int8AmxWork work(uint8_t* strip, const AmxTable& table) const;

  AmxPlan amx_;
  Plan plan_;
  Strips strips_;
  AmxTables tables_;
  Strides in_;
  Memory memory_;
  std::vector<int32_t> at_;
};

}  // namespace hetconv
