namespace Subquartic.Attention;

/// <summary>What low-rank attention does to make scores small before it approximates them. Each can be left out, to see what it gains.</summary>
/// <param name="KeyCentring">Keys move by one vector: a constant for each row of scores. Exact.</param>
/// <param name="QueryCentring">Queries move by their mean, which becomes a positive weight of each key. Exact.</param>
/// <param name="Rebalancing">Each coordinate is scaled, keys down and queries up. Exact; scores stay, numbers stay near 1.</param>
/// <param name="Rotation">Coordinates along the directions in which keys and queries vary most. Exact.</param>
/// <param name="Projection">Only the first of these directions; what is left out of a score is bounded by its lengths. Certified.</param>
/// <param name="RowPolynomials">Each row has the polynomial of its own score range, and no higher degree than it needs. Exact.</param>
/// <param name="RowFallback">Rows that no polynomial serves are computed exactly; without it the whole head is.</param>
/// <param name="OutlierKeys">Few long keys stay out of the moments; their terms are added exactly. Exact.</param>
/// <remarks>Alman and Song (arXiv 2302.13214) ask for bounded entries; what decides is the range of the scores, after all this.</remarks>
public readonly record struct LowRankReductions(
    bool KeyCentring, bool QueryCentring, bool Rebalancing, bool Rotation, bool Projection, bool RowPolynomials, bool RowFallback, bool OutlierKeys)
{
    /// <summary>All of them.</summary>
    public static LowRankReductions All { get; } = new(true, true, true, true, true, true, true, true);

    /// <summary>None: polynomials of the scores as they come.</summary>
    public static LowRankReductions None { get; }
}
