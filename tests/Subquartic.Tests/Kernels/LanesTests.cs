using System.Runtime.Intrinsics;
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

    [Fact]
    public void Integers_in_lanes_are_those_of_plain_code_at_every_width()
    {
        CheckIntegers<Lanes128, Vector128<float>>();
        CheckIntegers<Lanes256, Vector256<float>>();
        CheckIntegers<Lanes512, Vector512<float>>();
    }

    private static void CheckIntegers<TLanes, TVector>()
        where TLanes : struct, ILanes<TVector>
        where TVector : unmanaged
    {
        int count = TLanes.Count;
        var random = new Random(1);
        int[] corners = [0, 1, -1, 0x7fff7fff, unchecked((int)0x80018001), 0x7fff8001, int.MaxValue, int.MinValue + 1];
        for (int round = 0; round < 100; round++)
        {
            int[] a = Draw(), b = Draw(), result = new int[count];
            int[] sums = [.. Enumerable.Range(0, count).Select(_ => random.Next(-1000000, 1000000))];
            float[] values = [.. Enumerable.Range(0, count).Select(_ => (float)((random.NextDouble() - 0.5) * 4e6)), ];
            values[0] = 2.5f;
            Same(TLanes.AddInteger(Load(a), Load(b)), i => a[i] + b[i]);
            Same(TLanes.JoinHalves(Load(a), Load(b)), i => (a[i] & 0xffff) | (b[i] << 16));
            Same(TLanes.AddPairProducts(Load(sums), Load(a), Load(b)), i => sums[i] + ((short)a[i] * (short)b[i]) + ((a[i] >> 16) * (b[i] >> 16)));
            Same(TLanes.ToSingle(Load(a)), i => BitConverter.SingleToInt32Bits((float)a[i]));
            int[] bits = [.. values.Select(BitConverter.SingleToInt32Bits)];
            Same(TLanes.ToInteger(Load(bits)), i => (int)Math.Round((double)values[i]));
            int[] exponents = [.. Enumerable.Range(0, count).Select(_ => random.Next(-20, 15))];
            Same(TLanes.AddExponent(Load(bits), Load(exponents)), i => BitConverter.SingleToInt32Bits((float)(values[i] * Math.Pow(2, exponents[i]))));

            void Same(TVector actual, Func<int, int> expected)
            {
                fixed (int* to = result)
                {
                    TLanes.Store((float*)to, actual);
                }

                for (int i = 0; i < count; i++)
                {
                    Assert.Equal(unchecked(expected(i)), result[i]);
                }
            }
        }

        int[] Draw() => [.. Enumerable.Range(0, count).Select(_ => random.Next(3) == 0 ? corners[random.Next(corners.Length)] : (random.Next(-32767, 32768) & 0xffff) | (random.Next(-32767, 32768) << 16))];

        static TVector Load(int[] from)
        {
            fixed (int* pointer = from)
            {
                return TLanes.Load((float*)pointer);
            }
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
