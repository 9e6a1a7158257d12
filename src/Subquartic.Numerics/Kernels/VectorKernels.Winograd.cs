using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

/// <remarks>Winograd's F(4x4, 3x3): Y = A^T [(G g G^T) . (B^T d B)] A turns a 6x6 input tile d and a 3x3 kernel g into a 4x4 output
/// tile with 36 products instead of 144 (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2015). The polynomials
/// are evaluated at 0, +-p, +-q and infinity. Lavin's points p = 1, q = 2 amplify rounding; p = 5/8, q = 3/2 cost the same, all
/// constants of B are exact in binary, and the part of the error that comes from the transforms is 2.4 times smaller.</remarks>
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    private const int WinogradTile = 4;
    private const int WinogradPoints = 36;
    private const double WinogradP = 0.625;
    private const double WinogradQ = 1.5;

    // Tiles of a block: two register tiles of rows at the widest width, so that each panel of weights is used twice at least.
    private const int WinogradBlockTiles = 24;
    private const int WinogradBlockWidth = 6;

    // Below this the weights, four times the direct ones, cost more time to read and memory to hold than the products they save.
    private const int WinogradSmallestSide = 17;

    // Unless they are so few (1 MB) that they stay in the second-level cache; then below this.
    private const int WinogradSmallestCachedSide = 12;
    private const int WinogradCachedWeights = 1 << 18;

    // With fewer channels the transforms outweigh the products.
    private const int WinogradFewestChannels = 32;

    /// <summary>The transform of weights G along one axis: rows [1, a, a^2] / prod_{b != a} (a - b) over the finite points a, and [0, 0, 1].</summary>
    private static ReadOnlySpan<double> WeightTransform =>
    [
        1 / (WinogradP * WinogradP * WinogradQ * WinogradQ), 0, 0,
        PScale, PScale * WinogradP, PScale * WinogradP * WinogradP,
        PScale, -PScale * WinogradP, PScale * WinogradP * WinogradP,
        QScale, QScale * WinogradQ, QScale * WinogradQ * WinogradQ,
        QScale, -QScale * WinogradQ, QScale * WinogradQ * WinogradQ,
        0, 0, 1,
    ];

    private const double PScale = 1 / (2 * WinogradP * WinogradP * (WinogradP * WinogradP - WinogradQ * WinogradQ));
    private const double QScale = 1 / (2 * WinogradQ * WinogradQ * (WinogradQ * WinogradQ - WinogradP * WinogradP));

    private static bool SuitsWinograd(in ConvolutionShape shape) =>
        shape.Kernel == 3 && shape.Stride == 1
        && shape.ExpectedSide >= ((long)WinogradPoints * shape.Inputs * shape.Outputs <= WinogradCachedWeights ? WinogradSmallestCachedSide : WinogradSmallestSide)
        && shape.Inputs >= WinogradFewestChannels && shape.Outputs >= WinogradFewestChannels;

    /// <summary>Transformed weights as [point][panel][input][two vectors of outputs], computed in double precision.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackWinogradPanel(PackedConvolution packed, float* weight, int panel, int firstInput, int endInput)
    {
        int inputs = packed.Shape.Inputs;
        int lanes = Math.Min(GemmPanelWidth, packed.Shape.Outputs - panel * GemmPanelWidth);
        long pointStride = (long)DivideUp(packed.Shape.Outputs, GemmPanelWidth) * inputs * GemmPanelWidth;

        // Four outputs at once. Outputs that there are not have weights 0.
        double* kernel = stackalloc double[9 * 4];
        Vector256<double>* half = stackalloc Vector256<double>[6 * 3];
        Vector256<double>* g = stackalloc Vector256<double>[6 * 3];
        for (int i = 0; i < 18; i++)
        {
            g[i] = Vector256.Create(WeightTransform[i]);
        }

        for (int input = firstInput; input < endInput; input++)
        {
            for (int first = 0; first < lanes; first += 4)
            {
                for (int lane = 0; lane < 4; lane++)
                {
                    float* taps = weight + ((long)(panel * GemmPanelWidth + first + lane) * inputs + input) * 9;
                    for (int tap = 0; tap < 9; tap++)
                    {
                        kernel[tap * 4 + lane] = first + lane < lanes ? taps[tap] : 0;
                    }
                }

                for (int j = 0; j < 3; j++)
                {
                    Vector256<double> top = Vector256.Load(kernel + j * 4);
                    Vector256<double> middle = Vector256.Load(kernel + (3 + j) * 4);
                    Vector256<double> bottom = Vector256.Load(kernel + (6 + j) * 4);
                    for (int i = 0; i < 6; i++)
                    {
                        half[i * 3 + j] = g[i * 3] * top + g[i * 3 + 1] * middle + g[i * 3 + 2] * bottom;
                    }
                }

                float* target = packed.Weights.Pointer + ((long)panel * inputs + input) * GemmPanelWidth + first;
                for (int point = 0; point < WinogradPoints; point++, target += pointStride)
                {
                    Vector256<double>* row = half + point / 6 * 3;
                    Vector256<double>* column = g + point % 6 * 3;
                    Vector256<double> sum = row[0] * column[0] + row[1] * column[1] + row[2] * column[2];
                    Vector128.Narrow(sum.GetLower(), sum.GetUpper()).Store(target);
                }
            }
        }
    }

    private void ConvolveWinograd(FeatureMap x, PackedConvolution convolution, FeatureMap y, in ConvolutionOptions options)
    {
        int panels = DivideUp(convolution.Shape.Outputs, GemmPanelWidth);
        int width = Math.Min((y.Width + 3) / 4, WinogradBlockWidth);
        int height = Math.Min((y.Height + 3) / 4, Math.Max(1, WinogradBlockTiles / width));
        var body = new WinogradBody
        {
            X = x,
            Y = y,
            Convolution = convolution,
            Options = options,
            Blocks = new Blocks(
                y.Batch, y.Height, y.Width, height * WinogradTile, width * WinogradTile, panels, Pool.Threads),
            Threads = Pool.Threads,
        };
        Pool.Run(body.Blocks.Tasks, ref body);
    }

    private struct WinogradBody : IParallelBody
    {
        public FeatureMap X;
        public FeatureMap Y;
        public PackedConvolution Convolution;
        public ConvolutionOptions Options;
        public Blocks Blocks;
        public int Threads;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Invoke(int task)
        {
            int panels = DivideUp(Convolution.Shape.Outputs, GemmPanelWidth);
            int channels = Convolution.Shape.Inputs;
            int pitch = DivideUp(channels, TLanes.Count) * TLanes.Count;
            (int image, int top, int left, int firstPanel, int endPanel) = Blocks[task];
            int down = (Math.Min(Blocks.Height, Y.Height - top) + WinogradTile - 1) / WinogradTile;
            int across = (Math.Min(Blocks.Width, Y.Width - left) + WinogradTile - 1) / WinogradTile;
            int tiles = down * across;
            int patchRows = down * WinogradTile + 2;
            int patchColumns = across * WinogradTile + 2;
            int width = (endPanel - firstPanel) * GemmPanelWidth;
            // The products of a point take the place of the inputs of the point before, which are no longer needed: half the memory,
            // and what is written is already in the cache. So the inputs of a point lie one slot later.
            int slot = Math.Max(pitch, width);
            int tileStride = (WinogradPoints + 1) * slot;
            using Scratch patch = Scratch.Rent((long)patchRows * patchColumns * pitch);
            using Scratch points = Scratch.Rent((long)tiles * tileStride);
            using Scratch work = Scratch.Rent((WinogradPoints + WinogradTile * WinogradTile) * GemmPanelWidth);

            CopyPatch(X, Options, image, top - 1, left - 1, patchRows, patchColumns, patch.Pointer, pitch);
            for (int tile = 0; tile < tiles; tile++)
            {
                (int y, int x) = Math.DivRem(tile, across);
                TransformInput(
                    patch.Pointer + ((long)y * WinogradTile * patchColumns + x * WinogradTile) * pitch, patchColumns * pitch, pitch,
                    work.Pointer, points.Pointer + (long)tile * tileStride + slot, slot);
            }

            // The next task of this thread is most likely the one after those the other threads are at.
            MapLines nextInput = MapLines.Input(X, Options, Blocks, task + Threads);
            MapLines output = MapLines.Output(Y, Options, Blocks, task);
            for (int point = 0; point < WinogradPoints; point++)
            {
                nextInput.Prefetch(point, WinogradPoints);
                output.Prefetch(point, WinogradPoints);
                for (int panel = firstPanel; panel < endPanel; panel++)
                {
                    MultiplyRows<PackedPanel>(
                        points.Pointer + (point + 1) * slot,
                        tileStride,
                        1,
                        Convolution.Weights.Pointer + ((long)point * panels + panel) * channels * GemmPanelWidth,
                        GemmPanelWidth,
                        channels,
                        points.Pointer + point * slot + (panel - firstPanel) * GemmPanelWidth,
                        tileStride,
                        tiles,
                        resume: false);
                }
            }

            for (int tile = 0; tile < tiles; tile++)
            {
                (int y, int x) = Math.DivRem(tile, across);
                for (int panel = firstPanel; panel < endPanel; panel++)
                {
                    float* source = points.Pointer + (long)tile * tileStride + (panel - firstPanel) * GemmPanelWidth;
                    float* results = work.Pointer + WinogradPoints * GemmPanelWidth;
                    TransformOutput(source, slot, work.Pointer, results);
                    TransformOutput(source + TLanes.Count, slot, work.Pointer, results + TLanes.Count);
                    Finish(results, image, top + y * WinogradTile, left + x * WinogradTile, panel * GemmPanelWidth);
                }
            }
        }

        private readonly void Finish(float* results, int image, int top, int left, int firstOutput)
        {
            int rows = Math.Min(WinogradTile, Y.Height - top);
            int columns = Math.Min(WinogradTile, Y.Width - left);
            for (int row = 0; row < rows; row++)
            {
                long pixel = ((long)image * Y.Height + top + row) * Y.Width + left;
                StoreOutputs(
                    results + row * WinogradTile * GemmPanelWidth, Convolution, Options, Y, pixel, columns, firstOutput);
            }
        }
    }

    /// <summary>B^T d B for all channels of one tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TransformInput(float* d, nint rowStride, nint pitch, float* work, float* result, nint slot)
    {
        for (nint c = 0; c < pitch; c += TLanes.Count)
        {
            for (int column = 0; column < 6; column++)
            {
                TransformInputLine(d + c + column * pitch, rowStride, work + column * TLanes.Count, 6 * TLanes.Count);
            }

            for (int row = 0; row < 6; row++)
            {
                TransformInputLine(work + row * 6 * TLanes.Count, TLanes.Count, result + c + row * 6 * slot, slot);
            }
        }
    }

    /// <summary>A^T m A for one vector of outputs of one tile; results are two vectors apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TransformOutput(float* m, nint stride, float* work, float* results)
    {
        for (int column = 0; column < 6; column++)
        {
            TransformOutputLine(m + column * stride, 6 * stride, work + column * TLanes.Count, 6 * TLanes.Count);
        }

        for (int row = 0; row < WinogradTile; row++)
        {
            TransformOutputLine(
                work + row * 6 * TLanes.Count, TLanes.Count, results + row * WinogradTile * 2 * TLanes.Count, 2 * TLanes.Count);
        }
    }

    /// <summary>B^T along one axis: the coefficients of m(x) / (x - a) for m = x (x^2 - p^2)(x^2 - q^2), point by point.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransformInputLine(float* d, nint stride, float* result, nint resultStride)
    {
        TVector p = TLanes.Broadcast((float)WinogradP);
        TVector q = TLanes.Broadcast((float)WinogradQ);
        TVector minusP2 = TLanes.Broadcast((float)(-WinogradP * WinogradP));
        TVector minusQ2 = TLanes.Broadcast((float)(-WinogradQ * WinogradQ));
        TVector product = TLanes.Broadcast((float)(WinogradP * WinogradP * WinogradQ * WinogradQ));
        TVector minusSum = TLanes.Broadcast((float)(-WinogradP * WinogradP - WinogradQ * WinogradQ));
        TVector d0 = TLanes.Load(d);
        TVector d1 = TLanes.Load(d + stride);
        TVector d2 = TLanes.Load(d + 2 * stride);
        TVector d3 = TLanes.Load(d + 3 * stride);
        TVector d4 = TLanes.Load(d + 4 * stride);
        TVector d5 = TLanes.Load(d + 5 * stride);
        TVector evenP = TLanes.MultiplyAdd(minusQ2, d2, d4);
        TVector oddP = TLanes.Multiply(p, TLanes.MultiplyAdd(minusQ2, d1, d3));
        TVector evenQ = TLanes.MultiplyAdd(minusP2, d2, d4);
        TVector oddQ = TLanes.Multiply(q, TLanes.MultiplyAdd(minusP2, d1, d3));
        TLanes.Store(result, TLanes.MultiplyAdd(product, d0, TLanes.MultiplyAdd(minusSum, d2, d4)));
        TLanes.Store(result + resultStride, TLanes.Add(evenP, oddP));
        TLanes.Store(result + 2 * resultStride, TLanes.Subtract(evenP, oddP));
        TLanes.Store(result + 3 * resultStride, TLanes.Add(evenQ, oddQ));
        TLanes.Store(result + 4 * resultStride, TLanes.Subtract(evenQ, oddQ));
        TLanes.Store(result + 5 * resultStride, TLanes.MultiplyAdd(product, d1, TLanes.MultiplyAdd(minusSum, d3, d5)));
    }

    /// <summary>A^T along one axis: row k is [1, p^k, (-p)^k, q^k, (-q)^k, 1 if k = 3].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransformOutputLine(float* m, nint stride, float* result, nint resultStride)
    {
        TVector p = TLanes.Broadcast((float)WinogradP);
        TVector q = TLanes.Broadcast((float)WinogradQ);
        TVector p2 = TLanes.Broadcast((float)(WinogradP * WinogradP));
        TVector q2 = TLanes.Broadcast((float)(WinogradQ * WinogradQ));
        TVector p3 = TLanes.Broadcast((float)(WinogradP * WinogradP * WinogradP));
        TVector q3 = TLanes.Broadcast((float)(WinogradQ * WinogradQ * WinogradQ));
        TVector m0 = TLanes.Load(m);
        TVector m1 = TLanes.Load(m + stride);
        TVector m2 = TLanes.Load(m + 2 * stride);
        TVector m3 = TLanes.Load(m + 3 * stride);
        TVector m4 = TLanes.Load(m + 4 * stride);
        TVector m5 = TLanes.Load(m + 5 * stride);
        TVector sumP = TLanes.Add(m1, m2);
        TVector differenceP = TLanes.Subtract(m1, m2);
        TVector sumQ = TLanes.Add(m3, m4);
        TVector differenceQ = TLanes.Subtract(m3, m4);
        TLanes.Store(result, TLanes.Add(m0, TLanes.Add(sumP, sumQ)));
        TLanes.Store(result + resultStride, TLanes.MultiplyAdd(p, differenceP, TLanes.Multiply(q, differenceQ)));
        TLanes.Store(result + 2 * resultStride, TLanes.MultiplyAdd(p2, sumP, TLanes.Multiply(q2, sumQ)));
        TLanes.Store(
            result + 3 * resultStride, TLanes.MultiplyAdd(p3, differenceP, TLanes.MultiplyAdd(q3, differenceQ, m5)));
    }
}
