namespace Subquartic.Attention;

/// <summary>What is known of the merged nodes of one block while its certificates are computed: a column for each number, so that
/// eight nodes are bounded at once.</summary>
internal sealed class MergeNotes
{
    /// <summary>Room for the merged nodes of a block, in whole vectors: a merged node has two keys or more.</summary>
    private const int Room = KeyTree.MaxCount / 2;

    /// <summary>Nodes so far.</summary>
    public int Count { get; set; }

    /// <summary>Node of the tree.</summary>
    public int[] Node { get; } = new int[Room];

    /// <summary>Place in the list.</summary>
    public int[] Entry { get; } = new int[Room];

    /// <summary>Keys.</summary>
    public double[] Keys { get; } = new double[Room];

    /// <summary>Largest weight of a key.</summary>
    public double[] Most { get; } = new double[Room];

    /// <summary>rho, once |C| max pi is there.</summary>
    public double[] Rho { get; } = new double[Room];

    /// <summary>tr S.</summary>
    public double[] Trace { get; } = new double[Room];

    /// <summary>sum S_ii deviation_i^2.</summary>
    public double[] Along { get; } = new double[Room];

    /// <summary>Largest |(deviation_i (z_i - mean z_i))|^2 of a key.</summary>
    public double[] Reach { get; } = new double[Room];

    /// <summary>|c - r|^2.</summary>
    public double[] Apart { get; } = new double[Room];

    /// <summary>Mean of |k - r|^2.</summary>
    public double[] Spread { get; } = new double[Room];

    /// <summary>Largest |k - r|.</summary>
    public double[] Radius { get; } = new double[Room];

    /// <summary>R.</summary>
    public double[] Rest { get; } = new double[Room];

    /// <summary>phi.</summary>
    public double[] Phi { get; } = new double[Room];

    /// <summary>A typical sqrt(E).</summary>
    public double[] Typical { get; } = new double[Room];
}
