// What halo.cu is made of, on a CPU: one block of threads at a time, each thread a context that runs until a barrier.
// Copies and products happen as late as the instructions allow, so that a wait that is missing is seen; memory that
// nobody has written is NaN.

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#define DEVICE static inline
#define KERNEL(resident) static void
#define UNROLL
#define UNROLL_LESS

typedef unsigned short Element;
typedef unsigned int Address;
typedef unsigned long long Descriptor;

struct Pair {
  float low, high;
};

struct Copy {
  Address to;
  const Element* from;
};

struct Thread {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(1 << 16);
  std::vector<std::vector<Copy>> groups;  // the last one is still open
  std::vector<std::function<void()>> products;
  bool done = false;
};

static std::vector<Thread> threads(256);
static std::vector<unsigned char> shared_bytes;
static ucontext_t scheduler;
static int running, block, blocks_in_all;

DEVICE int thread_index() { return running; }
DEVICE int block_index() { return block; }
DEVICE int block_count() { return blocks_in_all; }
DEVICE Address shared_base() { return 0; }
DEVICE void barrier() { swapcontext(&threads[running].context, &scheduler); }
DEVICE float exponential(float value) { return std::exp(value); }

DEVICE void copy_async(Address to, const Element* from, bool live) {
  threads[running].groups.back().push_back({to, live ? from : nullptr});
}
DEVICE void copies_end_group() { threads[running].groups.emplace_back(); }
template <int LEFT>
DEVICE void copies_wait() {
  auto& groups = threads[running].groups;
  while (groups.size() > LEFT + 1) {
    for (Copy copy : groups.front()) {
      if (copy.from == nullptr) std::memset(&shared_bytes.at(copy.to), 0, 16);
      else std::memcpy(&shared_bytes.at(copy.to), copy.from, 16);
      shared_bytes.at(copy.to + 15);
    }
    groups.erase(groups.begin());
  }
}
DEVICE void copies_seen_by_products() {}

DEVICE float value_of(Element bits) {
  float value;
#if HALF
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  value = exponent ? std::ldexp(float(1024 + fraction), exponent - 25) : std::ldexp(float(fraction), -24);
  if (exponent == 31) value = fraction ? NAN : INFINITY;
  return bits >> 15 ? -value : value;
#else
  std::uint32_t wide = std::uint32_t(bits) << 16;
  std::memcpy(&value, &wide, 4);
  return value;
#endif
}

// One number of an operand without swizzling, as the documentation of matrix descriptors has it: 8 rows of 16 bytes
// are adjacent, the next 8 rows and the next 8 columns are where the descriptor says.
DEVICE float element_of(Descriptor operand, int row, int column) {
  auto field = [&](int bit) { return Address(operand >> bit & 0x3fff) << 4; };
  Address at = field(0) + row / 8 * field(32) + row % 8 * 16 + column / 8 * field(16) + column % 8 * 2;
  Element bits;
  std::memcpy(&bits, &shared_bytes.at(at), 2);
  return value_of(bits);
}

// d += A·B: the sums of this thread, of a product of its warpgroup.
template <int N>
struct Product {
  static void add(float (&d)[N / 2], Descriptor a, Descriptor b) {
    int lane = running % 32, warp = running / 32 % 4;
    threads[running].products.push_back([&d, a, b, lane, warp] {
      for (int i = 0; i < N / 2; i++) {
        int row = warp * 16 + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) d[i] += element_of(a, row, k) * element_of(b, column, k);
      }
    });
  }
};
DEVICE void products_begin() {}
DEVICE void products_wait() {
  for (auto& product : threads[running].products) product();
  threads[running].products.clear();
}
template <int COUNT>
DEVICE void keep_in_place(float (&)[COUNT]) {}

DEVICE void shared_store(Address to, int bits) { std::memcpy(&shared_bytes.at(to), &bits, 4); }
DEVICE int shared_load(Address from) {
  int bits;
  std::memcpy(&bits, &shared_bytes.at(from), 4);
  return bits;
}
DEVICE void store_16_bytes(Element* to, Address from) { std::memcpy(to, &shared_bytes.at(from), 16); }

DEVICE int rounded_one(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
#if HALF
  if (value == 0) return bits >> 16;
  int exponent;
  std::frexp(value, &exponent);
  float unit = std::ldexp(1.0f, std::max(exponent - 11, -24));
  int whole = int(std::nearbyint(std::fabs(value) / unit));  // up to 2048
  if (exponent - 11 <= -24) return (bits >> 31) << 15 | whole;
  return (bits >> 31) << 15 | ((exponent + 13) * 1024 + whole);
#else
  return std::isnan(value) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
#endif
}
DEVICE int rounded(float low, float high) { return (rounded_one(low) & 0xffff) | rounded_one(high) << 16; }
DEVICE Pair widened(const Element* two) { return {value_of(two[0]), value_of(two[1])}; }

// Runs `kernel` once for each thread of each block.
static void run_blocks(int blocks, int bytes, std::function<void()> kernel) {
  static std::function<void()> body;
  body = kernel;
  blocks_in_all = blocks;
  for (block = 0; block < blocks; block++) {
    shared_bytes.assign(bytes, 0xff);
    for (Thread& thread : threads) {
      thread.groups.assign(1, {});
      thread.done = false;
      getcontext(&thread.context);
      thread.context.uc_stack.ss_sp = thread.stack.data();
      thread.context.uc_stack.ss_size = thread.stack.size();
      thread.context.uc_link = &scheduler;
      makecontext(&thread.context, static_cast<void (*)()>([] {
        body();
        threads[running].done = true;
      }), 0);
    }
    for (bool left = true; left;) {
      left = false;
      for (running = 0; running < 256; running++) {
        if (threads[running].done) continue;
        swapcontext(&scheduler, &threads[running].context);
        left = left || !threads[running].done;
      }
    }
  }
}
