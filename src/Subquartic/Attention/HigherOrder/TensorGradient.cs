using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention.HigherOrder;

/// <summary>Where gradients of tensor attention go; they are added to what is there.</summary>
/// <param name="Queries">dQ (L, d).</param>
/// <param name="Keys">dK of every set (S_s, d).</param>
/// <param name="Values">dV of every set (S_s, d_v).</param>
public readonly record struct TensorGradient(Matrix Queries, IReadOnlyList<Matrix> Keys, IReadOnlyList<Matrix> Values);
