# Let glibc keep the pages of large tensors on a CPU. By default it gives them back at once, and asks for them again.

export MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-268435456} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-8589934592}
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-4294967296}
