using System.Collections.Concurrent;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Memory of one thread; <see cref="Dispose"/> gives it back.</summary>
internal sealed class FlatWorkspace(ConcurrentBag<FlatWorkspace> home) : IDisposable
{
    private (int Width, int ValueWidth) _sizes;

    public FloatBuffer Rows { get; private set; } = new(0);

    public FloatBuffer Keys { get; private set; } = new(0);

    public FloatBuffer Left { get; private set; } = new(0);

    public FloatBuffer Right { get; private set; } = new(0);

    public FloatBuffer Product { get; private set; } = new(0);

    public FloatBuffer Queries { get; private set; } = new(0);

    public FloatBuffer Answers { get; private set; } = new(0);

    public PackedMatrix? Packed { get; set; }

    public void Prepare(int width, int valueWidth)
    {
        if (_sizes == (width, valueWidth))
        {
            return;
        }

        Free();
        _sizes = (width, valueWidth);
        long stride = RowVectors.Padded(width), columns = width + valueWidth;
        (Rows, Keys, Left, Right) = (new(stride), new(FlatPath.TestKeys * stride), new(FlatPath.Chunk * (width + 1L)), new(FlatPath.Chunk * columns));
        (Product, Queries, Answers) = (new((width + 1) * columns), new(FlatPath.QueryBlock * stride), new((long)FlatPath.QueryBlock * valueWidth));
    }

    public void Free()
    {
        foreach (FloatBuffer buffer in new[] { Rows, Keys, Left, Right, Product, Queries, Answers })
        {
            buffer.Dispose();
        }

        Packed?.Dispose();
        Packed = null;
    }

    public void Dispose() => home.Add(this);
}
