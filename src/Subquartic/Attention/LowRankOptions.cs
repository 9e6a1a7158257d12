namespace Subquartic.Attention;

/// <summary>What low-rank attention may do.</summary>
public sealed record LowRankOptions
{
    /// <summary>Largest error of any output entry, as a fraction of the range of V (largest minus smallest value of a column, over the keys of the
    /// head); above 0.</summary>
    public double Tolerance { get; init; } = 1e-3;

    /// <summary>The reductions in use.</summary>
    public LowRankReductions Reductions { get; init; } = LowRankReductions.All;

    /// <summary>Whether a head is approximated only when that is predicted to be faster than computing it exactly; if not, wherever the tolerance can
    /// be kept, as to study errors.</summary>
    public bool OnlyWhenFaster { get; init; } = true;
}
