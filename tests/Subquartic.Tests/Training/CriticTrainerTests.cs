using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Tests.Training;

public sealed class CriticTrainerTests : IDisposable
{
    private static readonly VarConfig TransformerConfig = SmallModels.Transformer;

    private readonly string _folder = Directory.CreateTempSubdirectory("subquartic-critic").FullName;
    private readonly ImageGenerator _generator;

    public CriticTrainerTests()
    {
        SmallModels.Save(_folder);
        _generator = ImageGenerator.Load(_folder, new GeneratorOptions { WithEncoder = true });
    }

    public void Dispose()
    {
        _generator.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>What a model with random weights draws is easy to tell from pictures.</summary>
    [Fact]
    public void A_critic_learns_to_tell_drawn_beginnings_from_real_ones_and_resumes_with_the_same_bits()
    {
        using CriticTrainer through = Create(2), before = Create(1), after = Create(2);
        StepReport[] reports = [.. Enumerable.Range(0, 40).Select(_ => through.TakeStep())];
        Assert.True(reports[^1].Measures["accuracy"] > 0.9, $"told apart {reports[^1].Measures["accuracy"]}");
        Assert.True(reports[^1].Loss < reports[0].Loss / 2, $"the loss went from {reports[0].Loss} to {reports[^1].Loss}");
        for (int i = 0; i < 6; i++)
        {
            before.TakeStep();
        }

        string state = Path.Combine(_folder, "state.tmp");
        before.SaveState(state);
        after.LoadState(state);
        Assert.Equal(reports[6..], Enumerable.Range(6, 34).Select(_ => after.TakeStep()), (a, b) => a.Loss == b.Loss && a.Measures["accuracy"] == b.Measures["accuracy"]);
        Assert.Equal(Saved(through), Saved(after));
    }

    [Fact]
    public void A_state_of_other_settings_and_data_that_do_not_fit_are_refused()
    {
        string state = Path.Combine(_folder, "state.tmp");
        using CriticTrainer trainer = Create(1), others = Create(1, scales: 1), guided = Create(1, sampling: new SamplingDefaults { Guidance = 2 });
        trainer.SaveState(state);
        Assert.Throws<CheckpointException>(() => others.LoadState(state));
        Assert.Throws<CheckpointException>(() => guided.LoadState(state));
        Assert.Throws<ArgumentOutOfRangeException>(() => Create(1, scales: 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => Create(1, scales: 0));
        Assert.Contains("16 x 16", Assert.Throws<ArgumentException>(() => Create(1, data: new IconDataset(IconSplit.Training, perClass: 1, size: 32))).Message, StringComparison.Ordinal);
        Assert.Contains("knows 3", Assert.Throws<ArgumentException>(() => Create(1, classes: 3)).Message, StringComparison.Ordinal);
    }

    /// <summary>What an adapter makes of the model is not what the critic has seen.</summary>
    [Fact]
    public void A_model_has_the_critic_in_its_folder_until_an_adapter_changes_it()
    {
        using (CriticTrainer trainer = Create(1))
        {
            Assert.Equal(1, Opened().Candidates);
            trainer.SaveModel(Path.Combine(_folder, Critic.FileName), TensorType.Float16);
        }

        File.WriteAllText(Path.Combine(_folder, "critic.json"), """{"scales":2,"candidates":3}""");
        Assert.Equal(3, Opened().Candidates);
        using (ModelFiles files = ModelFiles.Open(_folder).WithAdapters([]))
        {
            Assert.Null(files.Critic);
            Assert.Equal(1, files.Sampling.Candidates);
        }

        using ImageGenerator generator = ImageGenerator.Load(_folder);
        Assert.True(generator.HasCritic);
        GenerationRequest request = Opened().Request([0, 5, 9]);
        Assert.Equal(3, request.Candidates);
        Assert.Equal(3, generator.Generate(request).Images.Count);

        SamplingDefaults Opened()
        {
            using ModelFiles files = ModelFiles.Open(_folder);
            return files.Sampling;
        }
    }

    private CriticTrainer Create(int threads, int scales = 2, SamplingDefaults? sampling = null, IconDataset? data = null, int classes = 16) => new(
        new CriticNetwork(classes, TransformerConfig.CodeChannels, 3), _generator, data ?? SmallModels.Pictures,
        SmallModels.Training, KernelSet.Create(KernelSet.Best.Name, threads), scales,
        sampling ?? new SamplingDefaults { Guidance = 0 }, drawEvery: 4);

    private byte[] Saved(CriticTrainer trainer)
    {
        string path = Path.Combine(_folder, "critic.tmp");
        trainer.SaveModel(path);
        return File.ReadAllBytes(path);
    }
}
