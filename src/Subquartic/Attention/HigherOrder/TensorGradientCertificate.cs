namespace Subquartic.Attention.HigherOrder;

/// <summary>What is known about the error of the gradients of one call, against those of exact attention in exact arithmetic for the very
/// operands given. NaN where they were computed exactly, without a bound.</summary>
/// <param name="Queries">Largest error of an entry of dQ.</param>
/// <param name="Keys">Largest error of an entry of dK, for every set of keys.</param>
/// <param name="Values">Largest error of an entry of dV, for every set of values.</param>
/// <param name="Path">How they were computed.</param>
/// <param name="Reason">Why that path was taken, for people.</param>
public readonly record struct TensorGradientCertificate(
    double Queries, IReadOnlyList<double> Keys, IReadOnlyList<double> Values, AttentionPath Path, string Reason);
