using Subquartic.Numerics.Kernels;

namespace Subquartic.Tests.Kernels;

public unsafe class LanesTests
{
    [Fact]
    public void Blocks_are_turned_over_at_every_width_with_and_without_shuffles()
    {
        Check(4, Lanes128.Transpose);
        Check(8, Lanes256.Transpose);
        Check(16, Lanes512.Transpose);
        foreach (int count in (int[])[4, 8, 16])
        {
            Check(count, (source, stride, destination, destinationStride) => PlainLanes.Transpose(source, stride, destination, destinationStride, count));
        }
    }

    private delegate void Transposition(float* source, nint stride, float* destination, nint destinationStride);

    private static void Check(int count, Transposition transpose)
    {
        const int stride = 19, destinationStride = 23;
        float[] source = [.. Enumerable.Range(0, count * stride).Select(i => (float)i)], destination = new float[count * destinationStride];
        Array.Fill(destination, -1);
        fixed (float* from = source, to = destination)
        {
            transpose(from, stride, to, destinationStride);
        }

        for (int row = 0; row < count; row++)
        {
            for (int column = 0; column < destinationStride; column++)
            {
                Assert.Equal(column < count ? source[(column * stride) + row] : -1, destination[(row * destinationStride) + column]);
            }
        }
    }
}
