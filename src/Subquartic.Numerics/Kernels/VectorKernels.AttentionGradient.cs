using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

// The gradient of attention, on the tiles of the forward pass: the lanes are queries while weights, slopes and the gradient of the queries are
// computed. The gradients of keys and values are sums over queries, which would have to add across lanes; instead weights and slopes are turned
// over, block by block in registers, so that the lanes are keys. Computing them again in that layout would take two more products and exponentials.
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    /// <summary>Scores and their gradients of a group, in values, stay below half of a 1 MB second-level cache.</summary>
    private const int MaxGradientState = 128 * 1024;

    /// <summary>Exponents of two instead of e.</summary>
    private const float Log2E = 1.44269504f;

    public override void AttentionGradient(
        HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor dOutput, float scale,
        HeadTensor dQueries, HeadTensor dKeys, HeadTensor dValues)
    {
        Check.Attention(queries, keys, values, dOutput, default);
        Check.AttentionGradient(queries, keys, values, dQueries, dKeys, dValues);
        if (queries.Rows > 0)
        {
            var body = new AttentionGradientBody(queries, keys, values, dOutput, scale, dQueries, dKeys, dValues);
            Pool.Run(queries.Batch * queries.Heads, ref body);
        }
    }

    /// <summary>The gradients of one head of one image.</summary>
    private readonly struct AttentionGradientBody(
        HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor dOutput, float scale,
        HeadTensor dQueries, HeadTensor dKeys, HeadTensor dValues) : IParallelBody
    {
        public void Invoke(int task)
        {
            (int image, int head) = Math.DivRem(task, queries.Heads);
            int l = WholeTiles(queries.Rows);
            int s = WholeTiles(keys.Rows);
            int width = WholeTiles(queries.Width);
            int valueWidth = WholeTiles(values.Width);
            int vectors = Math.Clamp(MaxGradientState / (2 * s * TLanes.Count), 1, MaxGroupVectors);
            int lanes = vectors * TLanes.Count;
            int keyLanes = MaxGroupVectors * TLanes.Count;
            int wholeKeys = DivideUp(keys.Rows, TLanes.Count) * TLanes.Count;
            using var scratch = Scratch.Rent(
                (long)(l + s) * (width + valueWidth) + (long)wholeKeys * (width + valueWidth)
                + (long)lanes * (2 * wholeKeys + 2 * width + valueWidth) + 2L * lanes * keyLanes + 2 * keyLanes);
            var work = new GradientWork
            {
                Queries = queries.Rows,
                Keys = keys.Rows,
                Width = width,
                ValueWidth = valueWidth,
                Q = scratch.Pointer,
            };
            work.DOutput = work.Q + (long)l * width;
            work.K = work.DOutput + (long)l * valueWidth;
            work.V = work.K + (long)s * width;
            work.DKeys = work.V + (long)s * valueWidth;
            work.DValues = work.DKeys + (long)wholeKeys * width;
            work.Scores = work.DValues + (long)wholeKeys * valueWidth;
            work.Slopes = work.Scores + (long)lanes * wholeKeys;
            work.Lanes = work.Slopes + (long)lanes * wholeKeys;
            work.Turned = work.Lanes + (long)lanes * (2 * width + valueWidth);
            work.Ones = work.Turned + 2L * lanes * keyLanes;
            work.Maximum = work.Ones + keyLanes;
            new Span<float>(work.Ones, keyLanes).Fill(1);
            new Span<float>(work.DKeys, wholeKeys * (width + valueWidth)).Clear();
            CopyBlock(queries[image, head], 0, queries.Rows, work.Q, l, width);
            CopyBlock(dOutput[image, head], 0, queries.Rows, work.DOutput, l, valueWidth);
            CopyBlock(keys[image, head], 0, keys.Rows, work.K, s, width);
            CopyBlock(values[image, head], 0, keys.Rows, work.V, s, valueWidth);

            // Scores in powers of two: Q times scale * log2(e), which the gradient of the keys takes back by ln(2).
            float factor = scale * Log2E;
            for (long i = 0; i < (long)l * width; i++)
            {
                work.Q[i] *= factor;
            }

            for (int first = 0; first < queries.Rows; first += lanes)
            {
                switch (Math.Min(vectors, DivideUp(queries.Rows - first, TLanes.Count)))
                {
                    case 1: Sweep<One>(work, first, scale, dQueries[image, head]); break;
                    case 2: Sweep<Two>(work, first, scale, dQueries[image, head]); break;
                    default: Sweep<Three>(work, first, scale, dQueries[image, head]); break;
                }
            }

            for (int key = 0; key < keys.Rows; key += keyLanes)
            {
                int groupLanes = Math.Min(keyLanes, wholeKeys - key);
                AddTransposed(work.DKeys + (long)key * width, groupLanes, key, 1 / Log2E, dKeys[image, head]);
                AddTransposed(work.DValues + (long)key * valueWidth, groupLanes, key, 1, dValues[image, head]);
            }
        }
    }

    /// <summary>Operands of one head, extended to whole tiles, and room for a group.</summary>
    private struct GradientWork
    {
        public int Queries;
        public int Keys;

        /// <summary>Columns of Q and K, and of V and dO, in whole tiles.</summary>
        public int Width;
        public int ValueWidth;

        /// <summary>Q * scale * log2(e), dO, K, V, row-major.</summary>
        public float* Q;
        public float* DOutput;
        public float* K;
        public float* V;

        /// <summary>What is known of the gradients of keys (times log2(e)) and values, for every group of keys (columns, lanes).</summary>
        public float* DKeys;
        public float* DValues;

        /// <summary>Weights and slopes of a group of queries, (keys, lanes) each.</summary>
        public float* Scores;
        public float* Slopes;

        /// <summary>Operands and results of a group of queries, transposed.</summary>
        public float* Lanes;

        /// <summary>Weights, then slopes, of a group of queries against a group of keys, (queries, lanes of keys) each.</summary>
        public float* Turned;

        /// <summary>As many ones as a group has lanes; then room for the maxima of a group.</summary>
        public float* Ones;
        public float* Maximum;
    }

    /// <summary>A group of queries against all keys: weights P and slopes dS, then dQ += scale dS K, dV += P^T dO and dK += scale dS^T Q.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Sweep<TVectors>(in GradientWork work, int first, float scale, Matrix dQueries)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        float* q = work.Lanes;
        float* dOutput = q + work.Width * lanes;
        float* dQ = dOutput + work.ValueWidth * lanes;
        float* maximum = work.Maximum;
        Transpose(work.Q, work.Width, first, work.Queries, lanes, q);
        Transpose(work.DOutput, work.ValueWidth, first, work.Queries, lanes, dOutput);
        new Span<float>(maximum, lanes).Fill(float.NegativeInfinity);
        for (int key = 0; key < work.Keys; key += AttentionTileRows)
        {
            ScoreTile<TVectors>(work.K + (nint)key * work.Width, work.Width, q, work.Width, false, work.Scores + (nint)key * lanes, maximum);
            ScoreTile<TVectors>(
                work.V + (nint)key * work.ValueWidth, work.ValueWidth, dOutput, work.ValueWidth, false, work.Slopes + (nint)key * lanes, null);
        }

        for (int lane = 0; lane < lanes; lane += TLanes.Count)
        {
            TVector max = TLanes.Load(maximum + lane);
            TVector sum = TLanes.Zero;
            TVector inner = TLanes.Zero;
            float* score = work.Scores + lane;
            float* slope = work.Slopes + lane;
            for (int start = 0; start < work.Keys; start += KeyBlock)
            {
                TVector blockSum = TLanes.Zero;
                TVector blockInner = TLanes.Zero;
                for (int key = start; key < Math.Min(start + KeyBlock, work.Keys); key++, score += lanes, slope += lanes)
                {
                    TVector weight = VectorMath<TLanes, TVector>.Exp2(TLanes.Subtract(TLanes.Load(score), max));
                    TLanes.Store(score, weight);
                    blockSum = TLanes.Add(blockSum, weight);
                    blockInner = TLanes.MultiplyAdd(weight, TLanes.Load(slope), blockInner);
                }

                sum = TLanes.Add(sum, blockSum);
                inner = TLanes.Add(inner, blockInner);
            }

            TVector inverse = TLanes.Divide(TLanes.Broadcast(1), sum);
            inner = TLanes.Multiply(inner, inverse);
            score = work.Scores + lane;
            slope = work.Slopes + lane;
            for (int key = 0; key < work.Keys; key++, score += lanes, slope += lanes)
            {
                TVector weight = TLanes.Multiply(TLanes.Load(score), inverse);
                TLanes.Store(score, weight);
                TLanes.Store(slope, TLanes.Multiply(weight, TLanes.Subtract(TLanes.Load(slope), inner)));
            }
        }

        new Span<float>(dQ, lanes * work.Width).Clear();
        AddProducts<TVectors>(work.K, work.Width, work.Slopes, work.Keys, work.Ones, dQ);
        AddTransposed(dQ, lanes, first, scale, dQueries);

        const int width = MaxGroupVectors;
        for (int key = 0; key < work.Keys; key += width * TLanes.Count)
        {
            switch (Math.Min(width, DivideUp(work.Keys - key, TLanes.Count)))
            {
                case 1: AddToKeys<One>(work, first, lanes, key); break;
                case 2: AddToKeys<Two>(work, first, lanes, key); break;
                default: AddToKeys<Three>(work, first, lanes, key); break;
            }
        }
    }

    /// <summary>dV += P^T dO and dK += dS^T Q of a group of keys, from a group of queries. Lanes behind the last key hold no number in particular,
    /// and nobody reads what becomes of them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddToKeys<TVectors>(in GradientWork work, int first, int lanes, int key)
        where TVectors : struct, ICount
    {
        int keyLanes = TVectors.Value * TLanes.Count;
        float* weights = work.Turned;
        float* slopes = weights + lanes * keyLanes;
        for (int j = 0; j < keyLanes; j += TLanes.Count)
        {
            nint source = (nint)(key + j) * lanes;
            for (int i = 0; i < lanes; i += TLanes.Count)
            {
                TLanes.Transpose(work.Scores + source + i, lanes, weights + (nint)i * keyLanes + j, keyLanes);
                TLanes.Transpose(work.Slopes + source + i, lanes, slopes + (nint)i * keyLanes + j, keyLanes);
            }
        }

        int count = Math.Min(lanes, work.Queries - first);
        AddProducts<TVectors>(
            work.DOutput + (nint)first * work.ValueWidth, work.ValueWidth, weights, count, work.Ones, work.DValues + (nint)key * work.ValueWidth);
        AddProducts<TVectors>(work.Q + (nint)first * work.Width, work.Width, slopes, count, work.Ones, work.DKeys + (nint)key * work.Width);
    }

    /// <summary>sum^T (columns, lanes) += rows^T (columns, count) weights (count, lanes), block after block.</summary>
    private static void AddProducts<TVectors>(float* rows, int columns, float* weights, int count, float* ones, float* sum)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        for (int start = 0; start < count; start += KeyBlock)
        {
            for (int column = 0; column < columns; column += AttentionTileRows)
            {
                ValueTile<TVectors>(
                    rows + (nint)start * columns + column, columns, weights + (nint)start * lanes, Math.Min(KeyBlock, count - start), ones,
                    sum + (nint)column * lanes);
            }
        }
    }

    /// <summary>Rows first … first + lanes - 1 as columns; lanes behind the last row repeat it.</summary>
    private static void Transpose(float* rows, int columns, int first, int count, int lanes, float* target)
    {
        for (int lane = 0; lane < lanes; lane += 4)
        {
            float* row0 = rows + (nint)Math.Min(first + lane, count - 1) * columns;
            if (first + lane + 4 <= count)
            {
                for (int c = 0; c < columns; c += 4)
                {
                    Lanes128.Transpose(row0 + c, columns, target + (nint)c * lanes + lane, lanes);
                }

                continue;
            }

            float* row1 = rows + (nint)Math.Min(first + lane + 1, count - 1) * columns;
            float* row2 = rows + (nint)Math.Min(first + lane + 2, count - 1) * columns;
            float* row3 = rows + (nint)Math.Min(first + lane + 3, count - 1) * columns;
            float* column = target + lane;
            for (int c = 0; c < columns; c++, column += lanes)
            {
                Vector128.Create(row0[c], row1[c], row2[c], row3[c]).Store(column);
            }
        }
    }

    /// <summary>Adds factor times the columns of a group to the rows of a matrix.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddTransposed(float* source, int lanes, int first, float factor, Matrix target)
    {
        float* block = stackalloc float[16];
        Vector128<float> factors = Vector128.Create(factor);
        for (int lane = 0; lane < lanes && first + lane < target.Rows; lane += 4)
        {
            float* rows = target.Pointer + (nint)(first + lane) * target.Stride;
            int count = Math.Min(4, target.Rows - first - lane);
            int c = 0;
            for (; c + 4 <= target.Columns; c += 4)
            {
                Lanes128.Transpose(source + (nint)c * lanes + lane, lanes, block, 4);
                for (nint i = 0; i < count; i++)
                {
                    float* row = rows + i * target.Stride + c;
                    (Vector128.Load(row) + Vector128.Load(block + 4 * i) * factors).Store(row);
                }
            }

            for (; c < target.Columns; c++)
            {
                for (nint i = 0; i < count; i++)
                {
                    rows[i * target.Stride + c] += factor * source[(nint)c * lanes + lane + i];
                }
            }
        }
    }
}
