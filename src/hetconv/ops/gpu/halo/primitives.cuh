// The instructions of compute capability 9.0 that halo.cu is made of, under names of their own.

#define DEVICE __device__ __forceinline__
#define KERNEL(resident) extern "C" __global__ void __launch_bounds__(256, resident)
#define UNROLL _Pragma("unroll")
#define UNROLL_LESS _Pragma("unroll 2")  // where unrolling takes more registers than it is worth

typedef unsigned short Element;  // the bits of a bfloat16 or float16
typedef unsigned int Address;    // in shared memory, in bytes
typedef unsigned long long Descriptor;

struct Pair {
  float low, high;
};

extern __shared__ __align__(128) unsigned char shared_bytes[];

DEVICE int thread_index() { return threadIdx.x; }
DEVICE int block_index() { return blockIdx.x; }
DEVICE int block_count() { return gridDim.x; }
DEVICE Address shared_base() { return Address(__cvta_generic_to_shared(shared_bytes)); }
DEVICE void barrier() { __syncthreads(); }
DEVICE float exponential(float value) { return __expf(value); }

// 16 bytes, or zeros.
DEVICE void copy_async(Address to, const Element* from, bool live) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(live ? 16 : 0)
               : "memory");
}
DEVICE void copies_end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT>
DEVICE void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
// Matrix instructions read shared memory through a proxy of their own.
DEVICE void copies_seen_by_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void products_wait() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

// The compiler does not know that products are still being made: nothing may move these sums across this line.
template <int COUNT>
DEVICE void keep_in_place(float (&sums)[COUNT]) {
  UNROLL for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(sums[i])::"memory");
}

DEVICE void shared_store(Address to, int bits) { asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(bits) : "memory"); }
DEVICE int shared_load(Address from) {
  int bits;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(bits) : "r"(from) : "memory");
  return bits;
}
DEVICE void store_16_bytes(Element* to, Address from) {
  int a, b, c, d;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(from) : "memory");
  *reinterpret_cast<int4*>(to) = make_int4(a, b, c, d);
}

DEVICE int rounded(float low, float high) {
  int both;
#if HALF
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#endif
  return both;
}
DEVICE Pair widened(const Element* two) {
  unsigned int both = *reinterpret_cast<const unsigned int*>(two);
  Pair wide;
#if HALF
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h;}"
      : "=f"(wide.low), "=f"(wide.high)
      : "r"(both));
#else
  wide = {__uint_as_float(both << 16), __uint_as_float(both & 0xffff0000u)};
#endif
  return wide;
}
