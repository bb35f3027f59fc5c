/* exact.h - what builds that cannot say -ffp-contract=off include before each file: floating point as it is
 * written. gcc contracts nothing with -std=c11 as it is. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif
