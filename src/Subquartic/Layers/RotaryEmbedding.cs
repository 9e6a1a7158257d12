using System.Numerics;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Layers;

/// <summary>Rotary position embedding of token maps in two dimensions (Su et al. 2021, arXiv 2104.09864, axial as in vision transformers): half
/// of the planes of a head turn with the row of a token, half with its column. A score then depends on the places of query and key through
/// their distance alone, and any attention strategy applies, since rotation comes before it.</summary>
/// <remarks>Places are continuous, in units of the last map: token (i, j) of a map of h x w stands at u = (i + 1/2) n/h, v = (j + 1/2) m/w, where the
/// last map is n x m, so that tokens of different scales that cover the same part of the picture stand at the same place. Plane b
/// of c/4 turns by u base^(-4b/c), or v. Coordinates p and p + c/2 of a head span a plane: first those of rows, then those of columns.</remarks>
public sealed class RotaryEmbedding
{
    /// <summary>Base of new models: the slowest plane turns by about one radian over 16 to 100 places, the size of token maps.</summary>
    public const float DefaultBase = 100;

    /// <summary>Largest base.</summary>
    public const float MaxBase = 1e9f;

    private readonly float[] _cosines;
    private readonly float[] _sines;
    private readonly int _planes;

    /// <summary>Calculates the rotations of all tokens.</summary>
    /// <param name="scales">The token maps.</param>
    /// <param name="headWidth">c, a multiple of 4.</param>
    /// <param name="frequencyBase">At least 1.</param>
    /// <exception cref="ArgumentException">An argument is out of its range.</exception>
    public RotaryEmbedding(ScaleSchedule scales, int headWidth, double frequencyBase)
    {
        ArgumentNullException.ThrowIfNull(scales);
        if (headWidth < 4 || headWidth % 4 != 0)
        {
            throw new ArgumentException($"A head of width {headWidth} cannot be rotated by rows and columns; it must be a multiple of 4.", nameof(headWidth));
        }

        if (!(frequencyBase > 0 && frequencyBase <= MaxBase))
        {
            throw new ArgumentException($"A base of {frequencyBase} is outside (0, {MaxBase}].", nameof(frequencyBase));
        }

        _planes = headWidth / 2;
        _cosines = new float[scales.Tokens * _planes];
        _sines = new float[scales.Tokens * _planes];
        TokenMapSize last = scales.Last;
        int place = 0;
        foreach (TokenMapSize size in scales.Sizes)
        {
            for (int token = 0; token < size.Tokens; token++)
            {
                double row = ((token / size.Width) + 0.5) * last.Height / size.Height;
                double column = ((token % size.Width) + 0.5) * last.Width / size.Width;
                for (int p = 0; p < _planes; p++, place++)
                {
                    int half = _planes / 2;
                    double angle = (p < half ? row : column) * Math.Pow(frequencyBase, -(double)(p % half) / half);
                    (_sines[place], _cosines[place]) = ((float)Math.Sin(angle), (float)Math.Cos(angle));
                }
            }
        }
    }

    /// <summary>The rotation of a transformer, or null when it has none.</summary>
    /// <param name="config">Its configuration.</param>
    /// <returns>The rotation.</returns>
    /// <exception cref="ArgumentException">The head width is no multiple of 4.</exception>
    public static RotaryEmbedding? For(VarConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config.RopeBase is { } frequencyBase ? new RotaryEmbedding(config.Scales, config.HeadWidth, frequencyBase) : null;
    }

    /// <summary>Turns the rows of every head by the places of their tokens. Lengths stay, but for rounding.</summary>
    /// <param name="x">(B, H, L, c).</param>
    /// <param name="start">Place of the first row in the sequence of all scales.</param>
    /// <param name="y">(B, H, L, c); may be <paramref name="x"/>.</param>
    /// <param name="pool">Threads that share the work.</param>
    /// <param name="back">Whether to turn the other way: the inverse, and the gradient.</param>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public void Rotate(HeadTensor x, int start, HeadTensor y, WorkerPool pool, bool back = false)
    {
        ArgumentNullException.ThrowIfNull(pool);
        if (x.Width != 2 * _planes || (y.Batch, y.Heads, y.Rows, y.Width) != (x.Batch, x.Heads, x.Rows, x.Width)
            || start < 0 || (start + (long)x.Rows) * _planes > _cosines.Length)
        {
            throw new ArgumentException($"Rows {start} to {start + x.Rows} of width {x.Width} do not fit {_cosines.Length / _planes} tokens of width {2 * _planes}.", nameof(x));
        }

        var body = new HeadBody(this, x, start, y, back);
        pool.Run(x.Batch * x.Heads, ref body);
    }

    private readonly struct HeadBody(RotaryEmbedding owner, HeadTensor x, int start, HeadTensor y, bool back) : IParallelBody
    {
        public void Invoke(int task)
        {
            (int image, int head) = Math.DivRem(task, x.Heads);
            Matrix source = x[image, head], target = y[image, head];
            int planes = owner._planes;
            for (int i = 0; i < source.Rows; i++)
            {
                ReadOnlySpan<float> cosines = owner._cosines.AsSpan((start + i) * planes, planes);
                ReadOnlySpan<float> sines = owner._sines.AsSpan((start + i) * planes, planes);
                ReadOnlySpan<float> a = source.Row(i)[..planes], b = source.Row(i)[planes..];
                Span<float> c = target.Row(i)[..planes], d = target.Row(i)[planes..];
                int p = 0;
                for (; p + Vector<float>.Count <= planes; p += Vector<float>.Count)
                {
                    var cosine = new Vector<float>(cosines[p..]);
                    Vector<float> sine = back ? -new Vector<float>(sines[p..]) : new Vector<float>(sines[p..]);
                    Vector<float> first = new(a[p..]), second = new(b[p..]);
                    ((first * cosine) - (second * sine)).CopyTo(c[p..]);
                    ((first * sine) + (second * cosine)).CopyTo(d[p..]);
                }

                for (; p < planes; p++)
                {
                    float sine = back ? -sines[p] : sines[p];
                    (c[p], d[p]) = ((a[p] * cosines[p]) - (b[p] * sine), (a[p] * sine) + (b[p] * cosines[p]));
                }
            }
        }
    }
}
