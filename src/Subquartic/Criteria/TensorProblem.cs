namespace Subquartic.Criteria;

/// <summary>Operands of tensor attention in double precision, scale 1: what the judge computes with, and what constructions make.</summary>
/// <param name="Queries">(L, d).</param>
/// <param name="Keys">k - 1 matrices (S_s, d).</param>
/// <param name="Values">k - 1 matrices (S_s, d_v).</param>
public sealed record TensorProblem(double[,] Queries, IReadOnlyList<double[,]> Keys, IReadOnlyList<double[,]> Values);
