using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

/// <remarks>The gradient of weights by Winograd's algorithm read backwards: Y = A^T [(G g G^T) . (B^T d B)] A has the gradient
/// dg = G^T [sum over tiles of (A dY A^T) . (B^T d B)] G, so that all tiles of a map are 36 products of (outputs, tiles) by (tiles, inputs) instead of
/// the 144 that nine taps of 16 pixels would be.</remarks>
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    // Transformed values of a block of tiles: half of a 1 MB second-level cache.
    private const int WinogradGradientBlock = 1 << 17;

    // Below this there are too few tiles to repay sums for 36 points instead of 9 taps.
    private const int WinogradGradientSmallestSide = 12;

    private static bool SuitsWinogradGradient(in ConvolutionShape shape, FeatureMap dy) =>
        shape.Kernel == 3 && shape.Stride == 1 && Math.Min(dy.Height, dy.Width) >= WinogradGradientSmallestSide
        && shape.Inputs >= WinogradFewestChannels && shape.Outputs >= WinogradFewestChannels && shape.Inputs % GemmPanelWidth == 0;

    private void WinogradWeightGradient(FeatureMap x, FeatureMap dy, in ConvolutionShape shape, bool upsample, Matrix dWeight)
    {
        using Scratch sums = Scratch.Rent((long)x.Batch * WinogradPoints * shape.Inputs * shape.Outputs);
        var products = new WinogradGradientBody
        {
            X = x,
            Gradient = dy,
            Options = new ConvolutionOptions { Upsample = upsample },
            Sums = sums.Pointer,
        };
        Pool.Run(x.Batch, ref products);
        var totals = new WinogradTotalsBody { Images = x.Batch, Inputs = shape.Inputs, Outputs = shape.Outputs, Sums = sums.Pointer, Result = dWeight };
        Pool.Run(shape.Outputs, ref totals);
    }

    /// <summary>The sums over the tiles of one image, [point][output][input], block after block of tiles.</summary>
    private struct WinogradGradientBody : IParallelBody
    {
        public FeatureMap X;
        public FeatureMap Gradient;
        public ConvolutionOptions Options;
        public float* Sums;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Invoke(int task)
        {
            int inputs = X.Channels;
            int outputs = Gradient.Channels;
            int outputPitch = DivideUp(outputs, TLanes.Count) * TLanes.Count;
            int across = DivideUp(Gradient.Width, WinogradTile);
            int down = DivideUp(Gradient.Height, WinogradTile);
            int rows = Math.Clamp(WinogradGradientBlock / (WinogradPoints * across * (inputs + outputPitch)), 1, down);
            int slots = rows * across;
            float* sums = Sums + (nint)task * WinogradPoints * inputs * outputs;
            using Scratch inputPatch = Scratch.Rent((long)(rows * WinogradTile + 2) * (across * WinogradTile + 2) * inputs);
            using Scratch outputPatch = Scratch.Rent((long)rows * WinogradTile * across * WinogradTile * outputPitch);
            using Scratch inputPoints = Scratch.Rent((long)WinogradPoints * slots * inputs);
            using Scratch outputPoints = Scratch.Rent((long)WinogradPoints * slots * outputPitch);
            using Scratch work = Scratch.Rent(WinogradPoints * TLanes.Count);
            for (int first = 0; first < down; first += rows)
            {
                int lines = Math.Min(rows, down - first);
                int tiles = lines * across;
                int inputColumns = across * WinogradTile + 2;
                int outputColumns = across * WinogradTile;
                CopyPatch(X, Options, task, first * WinogradTile - 1, -1, lines * WinogradTile + 2, inputColumns, inputPatch.Pointer, inputs);
                CopyPatch(Gradient, default, task, first * WinogradTile, 0, lines * WinogradTile, outputColumns, outputPatch.Pointer, outputPitch);
                for (int tile = 0; tile < tiles; tile++)
                {
                    (int row, int column) = Math.DivRem(tile, across);
                    TransformInput(
                        inputPatch.Pointer + ((nint)row * WinogradTile * inputColumns + column * WinogradTile) * inputs, inputColumns * inputs, inputs,
                        work.Pointer, inputPoints.Pointer + (nint)tile * inputs, slots * inputs);
                    TransformGradient(
                        outputPatch.Pointer + ((nint)row * WinogradTile * outputColumns + column * WinogradTile) * outputPitch, outputColumns * outputPitch,
                        outputPitch, work.Pointer, outputPoints.Pointer + (nint)tile * outputPitch, slots * outputPitch);
                }

                for (int point = 0; point < WinogradPoints; point++)
                {
                    for (int column = 0; column < inputs; column += GemmPanelWidth)
                    {
                        MultiplyRows<MapPanel>(
                            outputPoints.Pointer + (nint)point * slots * outputPitch, 1, outputPitch,
                            inputPoints.Pointer + (nint)point * slots * inputs + column, inputs, tiles,
                            sums + (nint)point * outputs * inputs + column, inputs, outputs, resume: first > 0);
                    }
                }
            }
        }
    }

    /// <summary>Adds up the images, in their order, and turns the points of one output into taps.</summary>
    private struct WinogradTotalsBody : IParallelBody
    {
        public int Images;
        public int Inputs;
        public int Outputs;
        public float* Sums;
        public Matrix Result;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Invoke(int task)
        {
            nint pointStride = (nint)Outputs * Inputs;
            nint imageStride = WinogradPoints * pointStride;
            float* points = stackalloc float[WinogradPoints * TLanes.Count];
            float* half = stackalloc float[3 * 6 * TLanes.Count];
            float* taps = stackalloc float[9 * TLanes.Count];
            float* result = Result.Pointer + (nint)task * Result.Stride;
            for (int input = 0; input < Inputs; input += TLanes.Count)
            {
                float* source = Sums + (nint)task * Inputs + input;
                for (int point = 0; point < WinogradPoints; point++, source += pointStride)
                {
                    TVector sum = TLanes.Load(source);
                    for (int image = 1; image < Images; image++)
                    {
                        sum = TLanes.Add(sum, TLanes.Load(source + image * imageStride));
                    }

                    TLanes.Store(points + point * TLanes.Count, sum);
                }

                for (int column = 0; column < 6; column++)
                {
                    TransformTapsLine(points + column * TLanes.Count, 6 * TLanes.Count, half + column * TLanes.Count, 6 * TLanes.Count);
                }

                for (int row = 0; row < 3; row++)
                {
                    TransformTapsLine(half + row * 6 * TLanes.Count, TLanes.Count, taps + row * 3 * TLanes.Count, TLanes.Count);
                }

                for (int lane = 0; lane < TLanes.Count; lane++)
                {
                    for (int tap = 0; tap < 9; tap++)
                    {
                        result[(input + lane) * 9 + tap] += taps[tap * TLanes.Count + lane];
                    }
                }
            }
        }
    }

    /// <summary>A y A^T for all channels of one tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TransformGradient(float* y, nint rowStride, nint pitch, float* work, float* result, nint slot)
    {
        for (nint c = 0; c < pitch; c += TLanes.Count)
        {
            for (int column = 0; column < WinogradTile; column++)
            {
                TransformGradientLine(y + c + column * pitch, rowStride, work + column * TLanes.Count, WinogradTile * TLanes.Count);
            }

            for (int row = 0; row < 6; row++)
            {
                TransformGradientLine(work + row * WinogradTile * TLanes.Count, TLanes.Count, result + c + row * 6 * slot, slot);
            }
        }
    }

    /// <summary>A along one axis: row a of a finite point is [1, a, a^2, a^3], that of infinity [0, 0, 0, 1].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransformGradientLine(float* y, nint stride, float* result, nint resultStride)
    {
        TVector p2 = TLanes.Broadcast((float)(WinogradP * WinogradP));
        TVector q2 = TLanes.Broadcast((float)(WinogradQ * WinogradQ));
        TVector y0 = TLanes.Load(y);
        TVector y1 = TLanes.Load(y + stride);
        TVector y2 = TLanes.Load(y + 2 * stride);
        TVector y3 = TLanes.Load(y + 3 * stride);
        TVector evenP = TLanes.MultiplyAdd(p2, y2, y0);
        TVector oddP = TLanes.Multiply(TLanes.Broadcast((float)WinogradP), TLanes.MultiplyAdd(p2, y3, y1));
        TVector evenQ = TLanes.MultiplyAdd(q2, y2, y0);
        TVector oddQ = TLanes.Multiply(TLanes.Broadcast((float)WinogradQ), TLanes.MultiplyAdd(q2, y3, y1));
        TLanes.Store(result, y0);
        TLanes.Store(result + resultStride, TLanes.Add(evenP, oddP));
        TLanes.Store(result + 2 * resultStride, TLanes.Subtract(evenP, oddP));
        TLanes.Store(result + 3 * resultStride, TLanes.Add(evenQ, oddQ));
        TLanes.Store(result + 4 * resultStride, TLanes.Subtract(evenQ, oddQ));
        TLanes.Store(result + 5 * resultStride, y3);
    }

    /// <summary>G^T along one axis, the transpose of the transform of weights.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransformTapsLine(float* m, nint stride, float* result, nint resultStride)
    {
        TVector m0 = TLanes.Load(m);
        TVector m1 = TLanes.Load(m + stride);
        TVector m2 = TLanes.Load(m + 2 * stride);
        TVector m3 = TLanes.Load(m + 3 * stride);
        TVector m4 = TLanes.Load(m + 4 * stride);
        TVector m5 = TLanes.Load(m + 5 * stride);
        TVector sumP = TLanes.Add(m1, m2);
        TVector sumQ = TLanes.Add(m3, m4);
        TLanes.Store(result, Combine(1 / (WinogradP * WinogradP * WinogradQ * WinogradQ), m0, PScale, sumP, QScale, sumQ));
        TLanes.Store(
            result + resultStride,
            TLanes.MultiplyAdd(
                TLanes.Broadcast((float)(PScale * WinogradP)), TLanes.Subtract(m1, m2),
                TLanes.Multiply(TLanes.Broadcast((float)(QScale * WinogradQ)), TLanes.Subtract(m3, m4))));
        TLanes.Store(result + 2 * resultStride, Combine(1, m5, PScale * WinogradP * WinogradP, sumP, QScale * WinogradQ * WinogradQ, sumQ));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Combine(double a, TVector x, double b, TVector y, double c, TVector z) => TLanes.MultiplyAdd(
        TLanes.Broadcast((float)b), y, TLanes.MultiplyAdd(TLanes.Broadcast((float)c), z, TLanes.Multiply(TLanes.Broadcast((float)a), x)));
}
