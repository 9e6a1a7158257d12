namespace Subquartic.Attention;

/// <summary>Which way a result was computed.</summary>
public enum AttentionPath
{
    /// <summary>All rows exactly: the error is rounding alone.</summary>
    Exact,

    /// <summary>All rows from polynomial moments.</summary>
    LowRank,

    /// <summary>Most rows from polynomial moments, the rest exactly.</summary>
    LowRankWithExactRows,

    /// <summary>All rows from sums over keys that stand for many or from 16-bit integers, each row within its own bound.</summary>
    Certified,

    /// <summary>Some rows in these ways, the rest exactly.</summary>
    CertifiedWithExactRows,

    /// <summary>Some rows from sums over keys that stand for many, without a bound, but audited (<see cref="AuditedAttention"/>).</summary>
    Audited,
}

/// <summary>What is known about the error of one attention result.</summary>
/// <param name="ErrorBound">max |o - o*| over all rows and columns is at most this, in units of V, where o* is the result in exact
/// arithmetic for the very Q, K, V given. Rounding is included. Infinity when nothing can be said, as for input that is not finite;
/// NaN when the strategy did not compute a bound, which only those do that compute exactly.</param>
/// <param name="Path">How the result was computed.</param>
/// <param name="Reason">Why that path was taken, for people.</param>
/// <param name="Heads">Heads of all images in the call.</param>
/// <param name="ExactHeads">Those among them that were computed exactly as a whole.</param>
/// <param name="Rows">Queries of all heads.</param>
/// <param name="ExactRows">Those among them that were computed exactly, in exact heads or alone.</param>
public readonly record struct Certificate(
    double ErrorBound, AttentionPath Path, string Reason, int Heads, int ExactHeads, long Rows, long ExactRows)
{
    /// <summary>Rows from moments of all keys at once (<see cref="CertifiedAttention"/>).</summary>
    public long FlatRows { get; init; }

    /// <summary>Rows from clusters of keys (<see cref="CertifiedAttention"/>).</summary>
    public long MergedRows { get; init; }

    /// <summary>Rows from all keys in 16-bit integers (<see cref="CertifiedAttention"/>).</summary>
    public long QuantizedRows { get; init; }

    /// <summary>Rows from clusters of keys without a bound (<see cref="AuditedAttention"/>).</summary>
    public long AuditedRows { get; init; }

    /// <summary>Multiply-adds done, those of integers and trials included, over those of exact attention; NaN when the strategy does not count.</summary>
    public double Work { get; init; } = double.NaN;

    /// <summary>The certificate of a call that was computed exactly and without a bound.
    /// <see cref="ExactAttention.RoundingBound(in AttentionInput)"/> computes one for the vector kernels.</summary>
    /// <param name="input">The call.</param>
    /// <returns>A certificate whose bound is NaN.</returns>
    public static Certificate Exact(in AttentionInput input)
    {
        int heads = input.Queries.Batch * input.Queries.Heads;
        long rows = (long)heads * input.Queries.Rows;
        return new Certificate(double.NaN, AttentionPath.Exact, "exact by choice", heads, heads, rows, rows);
    }
}
