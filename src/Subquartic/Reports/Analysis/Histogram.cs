namespace Subquartic.Reports.Analysis;

/// <summary>Counts of values in equal bins on both sides of zero. The bins widen by doubling when a value lies outside, by joining
/// neighbours, so that the counts are those of the final bins whatever came first.</summary>
internal sealed class Histogram
{
    /// <summary>Bins of one side.</summary>
    public const int Side = 32;

    private const double Narrowest = 1.0 / (1 << 20);

    private readonly long[] _counts = new long[2 * Side];

    /// <summary>Width of a bin, a power of two.</summary>
    public double BinWidth { get; private set; } = Narrowest;

    /// <summary>Counts; bin i holds [(i - Side) BinWidth, (i + 1 - Side) BinWidth).</summary>
    public ReadOnlySpan<long> Counts => _counts;

    /// <summary>Makes room, so that <see cref="Add(double)"/> need not look.</summary>
    /// <param name="largest">No value to come is larger in absolute value.</param>
    public void Reserve(double largest)
    {
        while (largest >= Side * BinWidth && double.IsFinite(largest))
        {
            // Bins 2i and 2i + 1 become one; an even number of bins on each side keeps zero on an edge.
            for (int i = 0; i < Side / 2; i++)
            {
                _counts[Side + i] = _counts[Side + (2 * i)] + _counts[Side + (2 * i) + 1];
                _counts[Side - 1 - i] = _counts[Side - 1 - (2 * i)] + _counts[Side - 2 - (2 * i)];
            }

            _counts.AsSpan(0, Side / 2).Clear();
            _counts.AsSpan(Side + (Side / 2)).Clear();
            BinWidth *= 2;
        }
    }

    /// <summary>Counts a value that <see cref="Reserve"/> has room for.</summary>
    /// <param name="value">The value.</param>
    public void Add(double value) => _counts[Side + (int)Math.Floor(value / BinWidth)]++;

    /// <summary>Adds another histogram.</summary>
    /// <param name="other">Unchanged but for the width of its bins.</param>
    public void Add(Histogram other)
    {
        double width = Math.Max(BinWidth, other.BinWidth);
        Reserve(width / 2 * Side);
        other.Reserve(width / 2 * Side);
        for (int i = 0; i < _counts.Length; i++)
        {
            _counts[i] += other._counts[i];
        }
    }
}
