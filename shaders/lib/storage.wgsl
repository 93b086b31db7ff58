// How the tensors of a kernel that has two forms lie in storage: as f32, or with HALF as f16. Arithmetic is f32
// either way: what is read is widened, what is written rounded.
#ifdef HALF
alias S = f16;
alias S4 = vec4<f16>;
#else
alias S = f32;
alias S4 = vec4<f32>;
#endif
// Four numbers side by side of a tile's operand, and four such pieces, on their way to workgroup memory
// (lib/tile.wgsl): cooperative matrices take them as they lie in storage, all else computes in f32.
#ifdef COOP
alias Piece = S4;
alias Pieces = mat4x4<S>;
#else
alias Piece = vec4<f32>;
alias Pieces = mat4x4<f32>;
#endif
