namespace Subquartic.Attention;

/// <summary>What decides which way <see cref="CertifiedAttention"/> takes. It affects speed only: tests run other plans to meet
/// every path with inputs that no sensible plan would give them.</summary>
internal sealed record CertifiedPlan
{
    /// <summary>Fewest pairs of a query and a key for which anything is tried.</summary>
    public long LeastPairs { get; init; } = 1L << 20;

    /// <summary>Fewest pairs for which keys are merged: with fewer, building lists costs what they save.</summary>
    public long MergePairs { get; init; } = 1L << 25;

    /// <summary>Whether a head may be flat: null asks a sample.</summary>
    public bool? Flat { get; init; }

    /// <summary>Most keys of a leaf of the tree.</summary>
    public int LeafSize { get; init; } = 4;

    /// <summary>Queries of a tile; null chooses by their number.</summary>
    public int? TileSize { get; init; }

    /// <summary>Queries of a tile, of so many: a multiple of the 48 that the attention kernel takes together at 512 bits. Smaller tiles need shorter lists,
    /// larger ones share the cost of building a list, and have as alike queries where the token map is finer.</summary>
    public int TileOf(int queries, bool audited) => TileSize ?? (queries >= 8192 || audited ? 192 : 96);

    /// <summary>Cost of an entry of a list, per query and multiply-add, over that of exact attention: an estimate, which decides speed only.</summary>
    public double ListCost { get; init; } = 1.15;

    /// <summary>Cost of building a list, per key and column, in multiply-adds of exact attention: an estimate, which decides speed only.</summary>
    public double BuildCost { get; init; } = 20;

    /// <summary>Largest cost of a list, over that of computing its rows exactly, for which it is made.</summary>
    public double WorthIt { get; init; } = 0.8;

    /// <summary>Rows of a tile that fail and are few enough for exact attention without another list.</summary>
    public int FewRows { get; init; } = 4;

    /// <summary>Largest guess of the error of merging every leaf, over what is allowed, for which merging is tried: chosen, not measured.</summary>
    public double LeafErrorLimit { get; init; } = 0.4;

    /// <summary>The same where errors are not proved but audited.</summary>
    public double AuditedErrorLimit { get; init; } = 4;

    /// <summary>Guessed error over what is allowed that audited lists aim at; null learns it from a few tiles.</summary>
    public double? AuditedTarget { get; init; }
}
