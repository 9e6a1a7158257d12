namespace Subquartic.Attention;

/// <summary>What decides which way <see cref="CertifiedAttention"/> takes. It affects speed only: tests run other plans to meet
/// every path with inputs that no sensible plan would give them.</summary>
internal sealed record CertifiedPlan
{
    /// <summary>Fewest pairs of a query and a key for which anything is tried.</summary>
    public long LeastPairs { get; init; } = 1L << 20;

    /// <summary>The same where integers are worth it and keys and values have <see cref="QuantizedColumns"/> together: narrower ones gain less than it costs to look at such a small head.</summary>
    public long QuantizedPairs { get; init; } = 1L << 16;

    /// <summary>Fewest columns of keys and values of a head that only <see cref="QuantizedPairs"/> lets in.</summary>
    public int QuantizedColumns { get; init; } = 128;

    /// <summary>Fewest pairs for which keys are merged: with fewer, building lists costs what they save.</summary>
    public long MergePairs { get; init; } = 1L << 25;

    /// <summary>Whether a head may be flat: null asks a sample.</summary>
    public bool? Flat { get; init; }

    /// <summary>Length of the mean query, over that of the longest, up to which a flat head is expanded about zero instead.</summary>
    public double SmallQueryMean { get; init; } = 0.1;

    /// <summary>Length of the mean key, over that of the longest, up to which it is not subtracted from the keys of a flat head.</summary>
    public double SmallKeyMean { get; init; } = 0.25;

    /// <summary>Most keys of a leaf of the tree.</summary>
    public int LeafSize { get; init; } = 4;

    /// <summary>Queries of a tile; null chooses by their number and by what lists would cost.</summary>
    public int? TileSize { get; init; }

    /// <summary>Queries of a tile that may serve, of so many: multiples of the 48 that the attention kernel takes together at 512 bits. Smaller tiles need shorter lists,
    /// larger ones share the cost of building a list, and have as alike queries where the token map is finer.</summary>
    public int[] TileSizes(int queries, bool audited) =>
        TileSize is { } given ? [given] : audited ? [192] : queries >= 8192 ? [288, 384] : [96, 144, 192];

    /// <summary>What merging and integers cost on this machine; asked for when the first head might be computed so.</summary>
    public Lazy<CertifiedCosts> Costs { get; init; } = new(new CertifiedCosts());

    /// <summary>The plan of all who state none of their own.</summary>
    public static CertifiedPlan With(Lazy<CertifiedCosts>? costs) => costs is null ? new CertifiedPlan() : new CertifiedPlan { Costs = costs };

    /// <summary>The same where it would be computed in integers, beside which all that comes before attention weighs more.</summary>
    public double HeadWorthItInIntegers { get; init; } = 0.62;

    /// <summary>Largest cost of a list, over that of computing its rows without one, for which it is made.</summary>
    public double WorthIt { get; init; } = 0.8;

    /// <summary>Largest cost predicted of a head, over that of computing it without merging, for which it is merged: predictions are off by a tenth or so.</summary>
    public double HeadWorthIt { get; init; } = 0.85;

    /// <summary>Whether rows that are neither flat nor merged are tried in 16-bit integers: null asks lengths and <see cref="Costs"/>.</summary>
    public bool? Quantized { get; init; }

    /// <summary>Largest cost of integers, over that of exact attention, for which they are tried.</summary>
    public double QuantizedWorthIt { get; init; } = 0.9;

    /// <summary>Whether integers are worth it on this machine.</summary>
    public bool IntegersAreWorthIt => Quantized ?? Costs.Value.Quantized <= QuantizedWorthIt;

    /// <summary>Rows of a tile that fail and are few enough for exact attention without another list.</summary>
    public int FewRows { get; init; } = 4;

    /// <summary>Largest guess of the error of merging every leaf, over what is allowed, for which merging is tried: chosen, not measured.</summary>
    public double LeafErrorLimit { get; init; } = 0.4;

    /// <summary>The same where errors are not proved but audited.</summary>
    public double AuditedErrorLimit { get; init; } = 4;

    /// <summary>Guessed error over what is allowed that audited lists aim at; null learns it from a few tiles.</summary>
    public double? AuditedTarget { get; init; }
}
