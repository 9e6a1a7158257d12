using System.Collections.Concurrent;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Memory of one thread; <see cref="Dispose"/> gives it back.</summary>
internal sealed class FlatWorkspace(ConcurrentBag<FlatWorkspace> home) : IDisposable
{
    private (int Width, int ValueWidth) _sizes;

    /// <summary>Rows of keys less their mean, of a part or of the sample.</summary>
    public FloatBuffer Keys { get; private set; } = new(0);

    /// <summary>The same times their weights, and the values of a part times theirs.</summary>
    public FloatBuffer Weighed { get; private set; } = new(0);

    /// <inheritdoc cref="Weighed"/>
    public FloatBuffer Values { get; private set; } = new(0);

    public FloatBuffer Queries { get; private set; } = new(0);

    public void Prepare(int width, int valueWidth)
    {
        if (_sizes == (width, valueWidth))
        {
            return;
        }

        Free();
        _sizes = (width, valueWidth);
        long stride = RowVectors.Padded(width);
        (Keys, Weighed) = (new(FlatPath.TestKeys * stride), new(FlatPath.Part * stride));
        (Values, Queries) = (new((long)FlatPath.Part * RowVectors.Padded(valueWidth)), new(FlatPath.QueryBlock * stride));
        Values.Span().Clear();
    }

    public void Free()
    {
        foreach (FloatBuffer buffer in new[] { Keys, Weighed, Values, Queries })
        {
            buffer.Dispose();
        }
    }

    public void Dispose() => home.Add(this);
}
