// How the tensors of a kernel that has two forms lie in storage: as f32, or with HALF as f16. Arithmetic is f32 either way: what is read is widened, what is written rounded.
#ifdef HALF
alias S = f16;
alias S4 = vec4<f16>;
#else
alias S = f32;
alias S4 = vec4<f32>;
#endif
