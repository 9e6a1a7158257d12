namespace Subquartic.Attention.Relative;

/// <summary>What is known about the gradients of one call of relative attention: the largest error of an entry of each, against those of exact attention in exact
/// arithmetic for the very operands given. NaN where they were computed in full, without a bound; infinity when nothing can be said.</summary>
/// <param name="Queries">Of dQ.</param>
/// <param name="Keys">Of dK.</param>
/// <param name="Values">Of dV.</param>
/// <param name="Entries">Of the gradients of the entries of W.</param>
/// <param name="Bias">Of the gradient of b.</param>
/// <param name="Path">How they were computed.</param>
/// <param name="Reason">Why that path was taken, for people.</param>
public readonly record struct RelativeGradientCertificate(
    double Queries, double Keys, double Values, double Entries, double Bias, AttentionPath Path, string Reason);
