using Subquartic.Training.Data.Icons;

namespace Subquartic.Training.Data;

/// <summary>Which icons: those to train on or those kept for judging.</summary>
public enum IconSplit
{
    /// <summary>Indices from 0 on.</summary>
    Training,

    /// <summary>Indices from 2^40 on, which no training set reaches.</summary>
    HeldOut,
}

/// <summary>The procedural data set <c>icons</c>: 16 classes of small pictures that a person names at sight, drawn when read.
/// Picture i shows class i % 16, so any run of 16 shows all.</summary>
/// <remarks>Every picture varies in colours, size, place, turn, light, shadow, rim and background, and in the parts of its
/// class (rays, petals, stripes, sails, spots, teeth, …). It is a function of (class, index): integer hashing and arithmetic
/// that IEEE 754 fixes give the same bytes on every machine, at any vector width. Edges are anti-aliased from the distance to
/// them, so every size is drawn sharp.</remarks>
public sealed class IconDataset : IImageDataset
{
    /// <summary>Smallest side in pixels; below it the icons cannot be told apart.</summary>
    public const int MinSize = 16;

    /// <summary>Largest side in pixels.</summary>
    public const int MaxSize = 512;

    /// <summary>Icons of one class in a split: 2^40, more than any training sees.</summary>
    public const long MaxPerClass = 1L << 40;

    // The rocket is kept out of the data set: it is what a model that knows the icons learns later.
    private static readonly IconClass[] Known = [.. Enum.GetValues<IconClass>().Where(icon => icon != IconClass.Rocket)];

    private readonly IconClass[] _icons;
    private readonly long _first;

    /// <summary>A part of the icons.</summary>
    /// <param name="split">To train on, or kept for judging.</param>
    /// <param name="perClass">Icons of each class.</param>
    /// <param name="size">Height and width in pixels.</param>
    /// <param name="first">Index of the first icon of each class in the split.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is not <see cref="MinSize"/> to <see cref="MaxSize"/>, or the icons
    /// are not within 0 to <see cref="MaxPerClass"/> of the split.</exception>
    public IconDataset(IconSplit split, long perClass = MaxPerClass, int size = 64, long first = 0)
        : this(Known, split, perClass, size, first)
    {
    }

    private IconDataset(IconClass[] icons, IconSplit split, long perClass, int size, long first)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, MinSize);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, MaxSize);
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfLessThan(perClass, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(perClass, MaxPerClass - first);
        _first = (split == IconSplit.HeldOut ? MaxPerClass : 0) + first;
        Size = size;
        _icons = icons;
        Classes = [.. icons.Select(icon => icon.ToString().ToLowerInvariant())];
        Count = perClass * icons.Length;
    }

    /// <summary>A class that is not among the sixteen: rockets, to teach a model that knows the icons.</summary>
    /// <param name="split">To train on, or kept for judging.</param>
    /// <param name="count">Number of pictures.</param>
    /// <param name="size">Height and width in pixels.</param>
    /// <param name="first">Index of the first in the split.</param>
    /// <returns>A data set of one class.</returns>
    /// <exception cref="ArgumentOutOfRangeException">As of the constructor.</exception>
    public static IconDataset Rockets(IconSplit split, long count, int size = 64, long first = 0) => new([IconClass.Rocket], split, count, size, first);

    /// <summary>Height and width in pixels.</summary>
    public int Size { get; }

    /// <inheritdoc/>
    public long Count { get; }

    /// <inheritdoc/>
    public IReadOnlyList<string> Classes { get; }

    /// <inheritdoc/>
    public int Height => Size;

    /// <inheritdoc/>
    public int Width => Size;

    /// <inheritdoc/>
    public int Read(long index, Span<byte> rgb)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((ulong)index, (ulong)Count, nameof(index));
        ArgumentOutOfRangeException.ThrowIfNotEqual(rgb.Length, 3 * Size * Size, nameof(rgb));
        (long number, long label) = Math.DivRem(index, _icons.Length);
        IconPainter.Draw(_icons[label], _first + number, Size, rgb);
        return (int)label;
    }
}
